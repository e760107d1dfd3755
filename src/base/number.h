#ifndef PARE_BASE_NUMBER_H
#define PARE_BASE_NUMBER_H

#include <pare/number.h>

#endif
