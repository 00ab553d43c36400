#include "control/link.h"
