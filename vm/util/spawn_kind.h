/* spawn_kind.h -- the three spawn forms, shared by the syntax tree and the scheduler. */
#ifndef NOSI_SPAWN_KIND_H
#define NOSI_SPAWN_KIND_H

typedef enum SpawnKind { SPAWN_PLAIN, SPAWN_LINK, SPAWN_MONITOR } SpawnKind;

#endif
