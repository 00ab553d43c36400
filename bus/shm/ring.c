#include "shm/shm.h"
