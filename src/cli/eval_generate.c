#include "cli/eval_generate.h"

#include "cli/record.h"
#include "cli/term.h"

#include <pare/metric.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_text(const pare_record *record)
{
    char text[PARE_NUMBER_BYTES];
    printf("%s\n  %s prompts, up to %s tokens each, temperature %s, top-p %s, seed %s; judged by "
           "%s\n",
           pare_record_condition(record, "path"), pare_record_condition(record, "prompts"),
           pare_record_condition(record, "n_gen"), pare_record_condition(record, "temperature"),
           pare_record_condition(record, "top_p"), pare_record_condition(record, "seed"),
           pare_record_condition(record, "against"));
    for (int i = 0; i < record->metric_count; i++) {
        const pare_metric *metric = &record->metrics[i];
        const pare_metric_info *info = pare_metric_find(metric->name);
        printf("  %-38s %s\n", info ? info->title : metric->name,
               pare_metric_text_unit(text, metric->name, metric->measure, true));
    }
    printf("\n%s\n", pare_record_condition(record, "sample_text"));
}

/* With the hashes of both models, which the library leaves out: they read all of their bytes. */
static int store(const cli_command *command, const cli_common *common, const pare_model *model,
                 const pare_model *base, const pare_record *record)
{
    char hash[65], base_hash[65];
    pare_condition conditions[40];
    pare_record complete = *record;
    fflush(stdout);
    pare_status status = pare_model_hash(model, hash);
    if (status == PARE_OK)
        status = pare_model_hash(base, base_hash);
    if (status != PARE_OK)
        return cli_failed(command, status);
    memcpy(conditions, record->conditions,
           (size_t)record->condition_count * sizeof *record->conditions);
    conditions[complete.condition_count++] = (pare_condition){"model_hash", hash};
    conditions[complete.condition_count++] = (pare_condition){"against_hash", base_hash};
    complete.conditions = conditions;
    return cli_store_record(command, common, &complete);
}

int cli_eval_generate(const cli_command *command, const cli_common *common, const pare_model *model,
                      const pare_model *base, const pare_tokenizer *tokenizer,
                      const pare_generate_options *options, bool samples, bool no_store)
{
    pare_generate_result result;
    cli_bar bar;
    base = base ? base : model;
    cli_bar_start(&bar, common);
    pare_status status =
        pare_eval_generate(model, base, tokenizer, options, &bar.progress, &result);
    cli_bar_end(&bar);
    if (status != PARE_OK)
        return cli_failed(command, status);
    int code = 0;
    if (common->json)
        code = cli_record_print_json(&result.record, samples);
    else
        print_text(&result.record);
    if (code == 0 && !no_store)
        code = store(command, common, model, base, &result.record);
    pare_generate_result_free(&result);
    return code;
}
