/*
 * report/report.h
 *		What the files of the report share.
 *
 * The law: a value becomes markup in escape.c and nowhere else.  Whatever a value
 * holds, the markup is ASCII, and no longer than its bound.
 */
#ifndef COZI_REPORT_H
#define COZI_REPORT_H

#include "lib/stringinfo.h"

/* escape.c */
extern void cozi_escape(StringInfo markup, const char *value, int length, int max_bytes);
extern char *cozi_text_in_utf8(struct varlena *value, int max_bytes);

/* draw.c */
extern void cozi_draw_histogram(StringInfo markup, const char *array);
extern void cozi_draw_waits(StringInfo markup, const char *waits);

#endif							/* COZI_REPORT_H */
