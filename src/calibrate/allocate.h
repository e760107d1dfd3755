/* Which tensor gets which format: the least total loss under one budget. */
#ifndef PARE_CALIBRATE_ALLOCATE_H
#define PARE_CALIBRATE_ALLOCATE_H

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>

enum { PARE_CHOICES = 8 };

/* The formats of one tensor. `price` is what the budget is counted in: bits of the tensor, bytes,
 * or microseconds of its product on the machine at hand. */
typedef struct pare_choice {
    int count;
    double loss[PARE_CHOICES], price[PARE_CHOICES];
    int picked;
} pare_choice;

/* Sets `picked` of all: the choice that minimizes loss + lambda price for the smallest lambda that
 * keeps the budget (each such choice is optimal for what it spends), then what is left of the
 * budget is spent where a unit of it saves most. PARE_LIMIT where even the cheapest choice costs
 * more. */
pare_status pare_allocate_budget(pare_choice *choices, size_t count, double budget);

#endif
