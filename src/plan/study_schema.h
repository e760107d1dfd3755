/* What YAML maps to which field of pare_study_file. */
#ifndef PARE_PLAN_STUDY_SCHEMA_H
#define PARE_PLAN_STUDY_SCHEMA_H

#include <cyaml/cyaml.h>

extern const cyaml_schema_value_t pare_study_schema;

#endif
