#include "calibrate/allocate.h"

#include "base/fail.h"

#include <math.h>

static double pick_all(pare_choice *choices, size_t count, double lambda)
{
    double price = 0;
    for (size_t i = 0; i < count; i++) {
        pare_choice *c = &choices[i];
        c->picked = 0;
        for (int k = 1; k < c->count; k++) {
            double gain = c->loss[c->picked] - c->loss[k], more = c->price[k] - c->price[c->picked];
            if (gain > lambda * more || (gain == lambda * more && more < 0))
                c->picked = k;
        }
        price += c->price[c->picked];
    }
    return price;
}

/* One better choice for one tensor, the one that saves most for its price; false where none fits.
 */
static bool spend(pare_choice *choices, size_t count, double budget, double *price)
{
    double best = 0;
    size_t tensor = count;
    int choice = 0;
    for (size_t i = 0; i < count; i++) {
        const pare_choice *c = &choices[i];
        for (int k = 0; k < c->count; k++) {
            double gain = c->loss[c->picked] - c->loss[k], more = c->price[k] - c->price[c->picked];
            if (gain <= 0 || *price + more > budget)
                continue;
            double rate = more > 0 ? gain / more : INFINITY;
            if (rate > best) {
                best = rate;
                tensor = i;
                choice = k;
            }
        }
    }
    if (tensor == count)
        return false;
    *price += choices[tensor].price[choice] - choices[tensor].price[choices[tensor].picked];
    choices[tensor].picked = choice;
    return true;
}

pare_status pare_allocate_budget(pare_choice *choices, size_t count, double budget)
{
    enum { HALVINGS = 200 };
    double least = pick_all(choices, count, INFINITY), low = 1e-30, high = 1e30, price;
    if (least > budget)
        return pare_fail(PARE_LIMIT, "the smallest choice takes %.3f of a budget of %.3f", least,
                         budget);
    for (int i = 0; i < HALVINGS; i++) { /* of the ratio: lambda may be of any size */
        double middle = sqrt(low * high);
        if (pick_all(choices, count, middle) > budget)
            low = middle;
        else
            high = middle;
    }
    price = pick_all(choices, count, high);
    while (spend(choices, count, budget, &price))
        ;
    return PARE_OK;
}
