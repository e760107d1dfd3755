/* One row for each key of a study file. libcyaml refuses what has no row. */
#include "plan/study_schema.h"

#include <pare/study_file.h>

enum { LONGEST_TEXT = 4000, MOST = 1000 };
#define OPTIONAL CYAML_FLAG_OPTIONAL
#define COUNT(table) (sizeof(table) / sizeof *(table))

#define TEXT(key, flags, type, field)                                                              \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | (flags), type, field, 1, LONGEST_TEXT)
#define INTEGER(key, type, field) CYAML_FIELD_INT(key, OPTIONAL, type, field)
#define CHOICE(key, type, field, table)                                                            \
    CYAML_FIELD_ENUM(key, OPTIONAL | CYAML_FLAG_STRICT, type, field, table, COUNT(table))
#define TEXTS(key, type, field)                                                                    \
    CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | OPTIONAL, type, field, &text_entry, 0, MOST)

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, LONGEST_TEXT)};
static const cyaml_strval_t answers[] = {{"no", 0}, {"yes", 1}, {"false", 0}, {"true", 1}};
static const cyaml_strval_t off_is_one[] = {{"on", 0}, {"off", 1}};
static const cyaml_strval_t activations[] = {{"fast", 0}, {"f32", 1}};
static const cyaml_strval_t scales[] = {{"absmax", 0}, {"mse", 1}};
static const cyaml_strval_t metrics[] = {{"speed", PARE_STUDY_SPEED},
                                         {"memory", PARE_STUDY_SPEED},
                                         {"energy", PARE_STUDY_SPEED},
                                         {"quality", PARE_STUDY_QUALITY},
                                         {"text", PARE_STUDY_TEXT}};

static const cyaml_schema_field_t source_fields[] = {
    TEXT("name", 0, pare_study_source, name), TEXT("path", OPTIONAL, pare_study_source, path),
    TEXT("shape", OPTIONAL, pare_study_source, shape),
    TEXT("fallback_shape", OPTIONAL, pare_study_source, fallback_shape), CYAML_FIELD_END};
static const cyaml_schema_value_t source = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, pare_study_source, source_fields)};

static const cyaml_schema_field_t recipe_fields[] = {
    TEXT("name", 0, pare_study_recipe, name),
    TEXT("label", OPTIONAL, pare_study_recipe, label),
    TEXT("format", OPTIONAL, pare_study_recipe, format),
    TEXT("recipe", OPTIONAL, pare_study_recipe, recipe),
    TEXT("method", OPTIONAL, pare_study_recipe, method),
    CHOICE("scale", pare_study_recipe, search_scales, scales),
    TEXT("calibration", OPTIONAL, pare_study_recipe, calibration),
    INTEGER("sequences", pare_study_recipe, sequences),
    INTEGER("length", pare_study_recipe, length),
    CHOICE("pure", pare_study_recipe, pure, answers),
    CYAML_FIELD_END};
static const cyaml_schema_value_t recipe = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, pare_study_recipe, recipe_fields)};

static const cyaml_schema_field_t workload_fields[] = {
    TEXT("name", 0, pare_study_workload, name),
    CYAML_FIELD_INT_PTR("prompt", CYAML_FLAG_POINTER | OPTIONAL, pare_study_workload, prompt_given),
    CYAML_FIELD_INT_PTR("generate", CYAML_FLAG_POINTER | OPTIONAL, pare_study_workload,
                        generate_given),
    INTEGER("depth", pare_study_workload, depth),
    INTEGER("batch", pare_study_workload, batch),
    CHOICE("kv_cache", pare_study_workload, kv_cache_off, off_is_one),
    TEXT("kv_type", OPTIONAL, pare_study_workload, kv_type),
    CHOICE("activations", pare_study_workload, activations, activations),
    INTEGER("threads", pare_study_workload, threads),
    TEXT("isa", OPTIONAL, pare_study_workload, isa),
    INTEGER("budget", pare_study_workload, budget),
    INTEGER("repetitions", pare_study_workload, repetitions),
    TEXTS("models", pare_study_workload, models),
    TEXTS("recipes", pare_study_workload, recipes),
    TEXTS("backends", pare_study_workload, backends),
    CYAML_FIELD_END};
static const cyaml_schema_value_t workload = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, pare_study_workload, workload_fields)};

static const cyaml_schema_field_t evaluation_fields[] = {
    TEXT("text", OPTIONAL, pare_study_evaluation, text),
    TEXT("protocol", OPTIONAL, pare_study_evaluation, protocol),
    INTEGER("context", pare_study_evaluation, context),
    INTEGER("stride", pare_study_evaluation, stride),
    INTEGER("windows", pare_study_evaluation, windows),
    CHOICE("wikitext", pare_study_evaluation, wikitext, answers),
    CHOICE("activations", pare_study_evaluation, activations, activations),
    TEXT("kv_type", OPTIONAL, pare_study_evaluation, kv_type),
    CYAML_FIELD_END};

static const cyaml_schema_field_t generation_fields[] = {
    TEXTS("prompts", pare_study_generation, prompts),
    INTEGER("tokens", pare_study_generation, tokens), CYAML_FIELD_END};

static const cyaml_schema_field_t file_fields[] = {
    TEXT("name", 0, pare_study_file, name),
    TEXT("title", OPTIONAL, pare_study_file, title),
    TEXT("goal", OPTIONAL, pare_study_file, goal),
    TEXTS("questions", pare_study_file, questions),
    TEXT("baseline", OPTIONAL, pare_study_file, baseline),
    INTEGER("seed", pare_study_file, seed),
    INTEGER("budget", pare_study_file, budget),
    INTEGER("repetitions", pare_study_file, repetitions),
    INTEGER("rounds", pare_study_file, rounds),
    INTEGER("timeout", pare_study_file, timeout),
    CYAML_FIELD_FLAGS("metrics", OPTIONAL | CYAML_FLAG_STRICT, pare_study_file, metrics, metrics,
                      COUNT(metrics)),
    CYAML_FIELD_MAPPING_PTR("evaluation", CYAML_FLAG_POINTER | OPTIONAL, pare_study_file,
                            evaluation, evaluation_fields),
    CYAML_FIELD_MAPPING_PTR("generation", CYAML_FLAG_POINTER | OPTIONAL, pare_study_file,
                            generation, generation_fields),
    CYAML_FIELD_SEQUENCE("models", CYAML_FLAG_POINTER, pare_study_file, models, &source, 1, MOST),
    CYAML_FIELD_SEQUENCE("recipes", CYAML_FLAG_POINTER, pare_study_file, recipes, &recipe, 1, MOST),
    TEXTS("backends", pare_study_file, backends),
    CYAML_FIELD_SEQUENCE("workloads", CYAML_FLAG_POINTER | OPTIONAL, pare_study_file, workloads,
                         &workload, 1, MOST),
    CYAML_FIELD_END};

const cyaml_schema_value_t pare_study_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, pare_study_file, file_fields)};
