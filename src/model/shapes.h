#ifndef PARE_MODEL_SHAPES_H
#define PARE_MODEL_SHAPES_H

typedef struct pare_shape {
    const char *name, *config; /* JSON, as in config.json */
} pare_shape;

extern const pare_shape pare_shapes[]; /* ends with {0} */

/* NULL where there is none of that name. */
const char *pare_shape_config(const char *name);

#endif
