/* The first recommendation: fastest decode within a quality limit. */
#include "base/number.h"

#include <pare/plan.h>
#include <stdio.h>

static bool usable(const pare_overview_row *row)
{
    return !row->decode_tokens_per_s.absent && !row->quality_loss.absent;
}

/* Speeds whose intervals overlap are a draw: the smaller file wins then. */
static bool better(const pare_overview_row *a, const pare_overview_row *b)
{
    if (a->decode_tokens_per_s.low > b->decode_tokens_per_s.high)
        return true;
    if (a->decode_tokens_per_s.high < b->decode_tokens_per_s.low)
        return false;
    return !a->file_bytes.absent && !b->file_bytes.absent &&
           a->file_bytes.value < b->file_bytes.value;
}

static int fastest_rejected(const pare_overview *study, int chosen, double max_loss)
{
    int best = -1;
    for (int r = 0; r < study->count; r++) {
        const pare_overview_row *row = &study->rows[r];
        bool faster = chosen < 0 ||
                      row->decode_tokens_per_s.low > study->rows[chosen].decode_tokens_per_s.high;
        if (usable(row) && row->quality_loss.high > max_loss && faster &&
            (best < 0 || better(row, &study->rows[best])))
            best = r;
    }
    return best;
}

static void explain(const pare_overview *study, int chosen, int rejected, double max_loss,
                    char *out, size_t size)
{
    char speed[PARE_NUMBER_BYTES], factor[PARE_NUMBER_BYTES], bytes[PARE_NUMBER_BYTES],
        loss[PARE_NUMBER_BYTES], limit[PARE_NUMBER_BYTES];
    pare_number(limit, (pare_measure){max_loss, max_loss, max_loss, false}, PARE_UNIT_PERCENT,
                false);
    int n;
    if (chosen < 0) {
        n = snprintf(
            out, size,
            "No measured format keeps the perplexity within %s of the model as it was given.",
            limit);
    } else {
        const pare_overview_row *row = &study->rows[chosen];
        pare_number(speed, row->decode_tokens_per_s, PARE_UNIT_RATE, false);
        pare_number(factor, row->decode_speedup, PARE_UNIT_FACTOR, false);
        pare_number(bytes, row->file_bytes, PARE_UNIT_BYTES, false);
        pare_number(loss, row->quality_loss, PARE_UNIT_CHANGE, true);
        n = snprintf(out, size,
                     "Deploy %s (%s): it decodes %s tokens/s, %s the FP16 speed, from a file of "
                     "%s, and changes the "
                     "perplexity by %s, within the limit of %s.",
                     row->label, row->format, speed, factor, bytes, loss, limit);
    }
    if (rejected >= 0 && n > 0 && (size_t)n < size) {
        const pare_overview_row *row = &study->rows[rejected];
        pare_number(factor, row->decode_speedup, PARE_UNIT_FACTOR, false);
        pare_number(loss, row->quality_loss, PARE_UNIT_CHANGE, true);
        snprintf(out + n, size - (size_t)n,
                 " %s (%s) would run at %s the FP16 speed but changes it by %s.", row->label,
                 row->format, factor, loss);
    }
}

void pare_recommend(const pare_overview *study, double max_loss, pare_recommendation *out)
{
    *out = (pare_recommendation){.row = -1};
    for (int r = 0; r < study->count; r++) {
        const pare_overview_row *row = &study->rows[r];
        if (usable(row) && row->quality_loss.high <= max_loss &&
            (out->row < 0 || better(row, &study->rows[out->row])))
            out->row = r;
    }
    explain(study, out->row, fastest_rejected(study, out->row, max_loss), max_loss, out->sentence,
            sizeof out->sentence);
}
