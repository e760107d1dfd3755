#include "report/sections.h"

#include <string.h>

const pare_section pare_sections[] = {
    {"overall", "Overall results", {"comprehensive_dashboard_4metrics"}, {"Fastest"}},
    {"speed",
     "Speed",
     {"speed_comparison", "speedup_analysis", "workload_comparison"},
     {"Speed", "Prefill", "KV cache"}},
    {"memory", "Memory", {"memory_usage", "memory_reduction"}, {"Memory"}},
    {"quality", "Quality", {"perplexity_comparison"}, {"Quality"}},
    {"hardware",
     "Use of the hardware",
     {"gpu_utilization", "cpu_utilization", "hardware_efficiency_heatmap", "roofline",
      "energy_per_token"},
     {"Hardware"}},
    {"tradeoffs",
     "Trade-offs",
     {"accuracy_vs_speed_tradeoff", "pareto_front", "deployment_decision_matrix",
      "multidimensional_radar"},
     {"Frameworks"}},
    {"decision", "Decision tree", {"decision_tree"}, {NULL}},
    {"scaling",
     "Scaling",
     {"memory_analysis_and_scalability", "model_size_vs_performance"},
     {NULL}},
};
const int pare_section_count = sizeof pare_sections / sizeof *pare_sections;

bool pare_section_has(const pare_section *section, const char *topic)
{
    for (int i = 0; i < PARE_SECTION_TOPICS && section->topics[i]; i++)
        if (strcmp(section->topics[i], topic) == 0)
            return true;
    return false;
}

bool pare_section_skips(const pare_view *view, const pare_chart *chart)
{
    bool gpu = pare_view_count(view, "gpu_utilization") > 0;
    for (int c = 0; c < view->choices; c++)
        gpu |= strcmp(view->choice[c].backend, "cuda") == 0;
    return !gpu && strcmp(chart->name, "gpu_utilization") == 0;
}
