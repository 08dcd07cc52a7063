/* env.c -- see env.h. */
#include "vm/util/env.h"

pthread_mutex_t nosi_env_mutex = PTHREAD_MUTEX_INITIALIZER;
