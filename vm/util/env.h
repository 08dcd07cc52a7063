/* env.h -- the lock of the environment: getenv and environ are read, setenv called, under it once
 * threads run. */
#ifndef NOSI_ENV_H
#define NOSI_ENV_H

#include <pthread.h>

extern pthread_mutex_t nosi_env_mutex;

#endif
