/* project.h -- a directory of modules and its nostos.toml (part 2, 5.6). */
#ifndef NOSI_PROJECT_H
#define NOSI_PROJECT_H

#include "vm/util/arena.h"
#include "vm/util/vec.h"

typedef struct ProjectBin {
    const char *name, *entry; // entry: "module.function"
    bool is_default;
} ProjectBin;

typedef struct ProjectFile {
    const char *path;   // to open
    const char *module; // "net.http"
} ProjectFile;

typedef struct Project {
    const char *dir;
    const char *name; // NULL without nostos.toml
    bool has_toml;
    VEC(ProjectBin) bins;
    VEC(ProjectFile) files; // sorted by path
} Project;

/* Reads the directory and its nostos.toml. Strings live in `arena`. Returns NULL, or an error text.
 */
const char *nosi_project_read(Project *p, Arena *arena, const char *dir);
/* The entry point to run: "" when main.main / main is to be used. NULL: *error says why not. */
const char *nosi_project_entry(const Project *p, Arena *arena, const char *bin, const char **error);
void nosi_project_free(Project *p);

#endif
