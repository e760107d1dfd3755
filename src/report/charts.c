/* The table of charts, and their files. */
#include "report/charts.h"

#include "base/fail.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RUN_BENCH "pare study run with bench in its metrics"
#define RUN_EVAL "pare study run with eval in its metrics, on a model with real weights"
#define RUN_ENERGY                                                                                 \
    "the study again on a machine whose energy counters can be read (RAPL, hwmon or NVML)"

const pare_chart pare_charts[] = {
    {"comprehensive_dashboard_4metrics",
     "Speed, memory, quality and efficiency",
     "Four views of every configuration; whiskers are 95 % intervals.",
     {"decode_tokens_per_s", "peak_rss_bytes"},
     RUN_BENCH,
     pare_draw_dashboard,
     pare_size_grid},
    {"speed_comparison",
     "Speed: prefill and decode",
     "Higher is better. Prefill is limited by arithmetic, decode by reading the weights.",
     {"decode_tokens_per_s"},
     RUN_BENCH,
     pare_draw_speed,
     pare_size_two_rows},
    {"speedup_analysis",
     "Speed-up against the baseline",
     "1x (dashed) is the baseline's speed on the same model, machine and workload.",
     {"decode_speedup"},
     RUN_BENCH ", with the baseline recipe among its recipes",
     pare_draw_speedup,
     pare_size_two_rows},
    {"workload_comparison",
     "Decode speed by workload",
     "The same configurations under the study's workloads: lengths, batch, KV cache on and off.",
     {"decode_tokens_per_s"},
     "pare study run with more than one workload",
     pare_draw_workloads,
     pare_size_workloads},
    {"memory_usage",
     "Peak memory and what it consists of",
     "Peak resident memory of the process, in parts; each model has its own scale.",
     {"peak_rss_bytes", "weights_bytes"},
     RUN_BENCH,
     pare_draw_memory,
     pare_size_stacks},
    {"memory_reduction",
     "Memory saved against the baseline",
     "Share of the baseline's peak memory, and of its weights, that a recipe saves.",
     {"memory_reduction"},
     RUN_BENCH ", with the baseline recipe among its recipes",
     pare_draw_memory_reduction,
     pare_size_two_rows},
    {"memory_analysis_and_scalability",
     "How memory grows: model size and context",
     "Left: measured points and the weights' exact size (lines). Right: the KV cache by formula, "
     "2 x layers x KV heads x head size x bytes per value x tokens.",
     {"peak_rss_bytes", "weights_bytes"},
     RUN_BENCH,
     pare_draw_memory_scaling,
     pare_size_usual},
    {"perplexity_comparison",
     "Perplexity",
     "Lower is better. The change against the baseline is paired: both saw the same tokens.",
     {"perplexity"},
     RUN_EVAL,
     pare_draw_perplexity,
     pare_size_two_rows},
    {"accuracy_vs_speed_tradeoff",
     "Quality lost against speed gained",
     "Right and down is better. Both axes are against the baseline of the same model.",
     {"quality_loss", "decode_speedup"},
     RUN_EVAL,
     pare_draw_tradeoff,
     pare_size_usual},
    {"pareto_front",
     "Pareto fronts of memory, speed and quality",
     "Each model by itself. No configuration on the line is beaten on both axes.",
     {"peak_rss_bytes", "decode_tokens_per_s"},
     RUN_BENCH,
     pare_draw_pareto,
     pare_size_pareto},
    {"gpu_utilization",
     "GPU utilization",
     "What the GPU's own counters said while tokens were made.",
     {"gpu_utilization"},
     "the study on a machine with an NVIDIA GPU (backends: [cuda])",
     pare_draw_gpu,
     pare_size_grid},
    {"cpu_utilization",
     "CPU utilization",
     "Achieved rates as shares of this machine's measured limits (pare hw --limits).",
     {"bandwidth_share"},
     RUN_BENCH,
     pare_draw_cpu,
     pare_size_three_rows},
    {"hardware_efficiency_heatmap",
     "Hardware efficiency",
     "Each column has its own scale from its lowest to its highest value.",
     {"bandwidth_share"},
     RUN_BENCH,
     pare_draw_efficiency,
     pare_size_heat},
    {"roofline",
     "Roofline",
     "Achieved operations per second over operations per byte read; lines are measured limits.",
     {"arithmetic_intensity_decode"},
     RUN_BENCH,
     pare_draw_roofline,
     pare_size_usual},
    {"energy_per_token",
     "Energy and power",
     "Idle power is subtracted; prefill and decode are apart.",
     {"decode_joules_per_token"},
     RUN_ENERGY,
     pare_draw_energy,
     pare_size_grid},
    {"deployment_decision_matrix",
     "Deployment decision matrix",
     "Every configuration against the baseline of its model: blue is better, orange worse.",
     {"decode_speedup", "memory_reduction"},
     RUN_BENCH ", with the baseline recipe among its recipes",
     pare_draw_decision,
     pare_size_heat},
    {"decision_tree",
     "Decision tree",
     "Fitted to the stored results. The colour is the recipe's in the other charts.",
     {"decode_tokens_per_s"},
     "a study with at least two recipes of a model",
     pare_draw_tree,
     pare_size_usual},
    {"multidimensional_radar",
     "Recipes in several dimensions",
     "On every axis the rim is the best recipe of that model, half way is half as good.",
     {"decode_tokens_per_s", "peak_rss_bytes"},
     RUN_BENCH,
     pare_draw_radar,
     pare_size_radar},
    {"model_size_vs_performance",
     "Model size against performance",
     "One line for each recipe across the models.",
     {"decode_tokens_per_s", "weights_bytes"},
     RUN_BENCH,
     pare_draw_size,
     pare_size_usual},
};
const int pare_chart_count = sizeof pare_charts / sizeof *pare_charts;

const pare_chart *pare_chart_find(const char *name)
{
    for (int i = 0; i < pare_chart_count; i++)
        if (strcmp(pare_charts[i].name, name) == 0)
            return &pare_charts[i];
    return NULL;
}

/* The first cell's reason stands for all. */
static const char *reason_for(const pare_view *v, const char *metric)
{
    const char *reason = NULL;
    for (int m = 0; m < v->models; m++)
        for (int c = 0; c < v->choices; c++) {
            const pare_cell *cell = pare_view_cell(v, m, c, 0);
            const pare_metric *found = cell ? pare_cell_metric(cell, metric) : NULL;
            if (found && found->absent_reason)
                return found->absent_reason;
            if (cell && !reason)
                reason = pare_view_reason(v, m, c, 0, metric);
        }
    return reason ? reason : "the study has no cells";
}

const char *pare_chart_missing(const pare_chart *chart, const pare_view *view, char *out,
                               size_t size)
{
    if (chart->draw == pare_draw_workloads && view->workloads < 2) {
        snprintf(out, size, "The study has one workload. To get it, run: %s.", chart->run);
        return out;
    }
    if (chart->draw == pare_draw_tree && !view->tree) {
        snprintf(out, size, "There is nothing to choose from. To get it, run: %s.", chart->run);
        return out;
    }
    for (int i = 0; i < PARE_CHART_NEEDS && chart->needs[i]; i++)
        if (!pare_view_count(view, chart->needs[i])) {
            const pare_metric_info *info = pare_metric_find(chart->needs[i]);
            snprintf(out, size, "Nothing to draw: %s is absent (%s). To get it, run: %s.",
                     info ? info->title : chart->needs[i], reason_for(view, chart->needs[i]),
                     chart->run);
            return out;
        }
    return NULL;
}

typedef struct drawing {
    const pare_chart *chart;
    pare_view *view;
} drawing;

static void draw(pare_canvas *canvas, const void *what)
{
    const drawing *d = what;
    d->chart->draw(canvas, d->view);
}

pare_size pare_chart_file_size(const pare_chart *chart, const pare_view *view)
{
    const double air = 1.25;
    pare_size size = chart->size(view);
    return (pare_size){fmax(size.w * (size.w > PARE_CHART_WIDTH ? 1 : air), PARE_CHART_WIDTH),
                       fmax(size.h * air, PARE_CHART_HEIGHT)};
}

pare_status pare_chart_file(const pare_chart *chart, pare_view *view, pare_file_kind kind,
                            pare_buffer *out, pare_canvas *hots)
{
    const drawing d = {chart, view};
    const pare_size size = pare_chart_file_size(chart, view);
    pare_status status = pare_canvas_render(draw, &d, kind, size.w, size.h, out, hots);
    return status == PARE_OK ? status : pare_fail_in(status, "chart %s", chart->name);
}
