//! Only here because cargo wants a target.
