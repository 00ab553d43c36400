#include "wait/wait.h"
