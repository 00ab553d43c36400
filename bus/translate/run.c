#include "translate/plan.h"
