#include "control/nng.h"
