/*
 * monitor/error.h
 *		The key of a counter of errors, for the hook that counts and the functions
 *		that read.
 */
#ifndef COZI_MONITOR_ERROR_H
#define COZI_MONITOR_ERROR_H

/* A code is 30 bits: six a character, the class lowest. */
#define CODE_OTHER		0x3FFFFFFF	/* of any class */
#define CODE_OF_CLASS	0x3FFFF000	/* any of the class in the other bits */

typedef enum ErrorOrigin
{
	ORIGIN_STATEMENT,			/* a statement failed */
	ORIGIN_RAISED,				/* an application raised it on purpose */
	ORIGIN_SESSION				/* a session ended, or none began */
} ErrorOrigin;

/* What a slot counts: database << 32 | origin << 30 | code */
#define MAKE_KEY(database, origin, code) \
	(((uint64) (database) << 32) | ((uint64) (origin) << 30) | (uint32) (code))
#define KEY_DATABASE(key)	((Oid) ((key) >> 32))
#define KEY_ORIGIN(key)		((ErrorOrigin) (((key) >> 30) & 3))
#define KEY_CODE(key)		((int) ((key) & 0x3FFFFFFF))

/* monitor/error.c */
extern const char *cozi_key_blame(uint64 key);
extern bool cozi_is_server_error(int code);
extern void cozi_forget_errors(void);

/* monitor/error_read.c */
extern char *cozi_read_errcodes(void);

#endif							/* COZI_MONITOR_ERROR_H */
