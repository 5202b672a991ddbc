/*
 * identity/mask.c
 *		No token in the server log.
 *
 * login() hides its own errors' statement, but a token is also in what others
 * log: the statement of a function around login() that fails, the parameters
 * of a slow one, a context.  Whatever the server is about to log, the
 * signature of a token in it is replaced by asterisks, without which the rest
 * is no login; and a statement with a token in it is not logged beside an
 * error.
 *
 * The law: the hook runs at the worst of times.  It allocates nothing, raises
 * nothing, and writes only into the error's own strings.
 */
#include "postgres.h"

#include "tcop/tcopprot.h"
#include "utils/elog.h"

#include "base/base.h"
#include "identity/identity.h"
#include "pure/jws.h"

static emit_log_hook_type prev_emit_log_hook = NULL;

static void
mask_text(char *text)
{
	const char *signature;
	size_t		len;

	while (text &&(signature = cozi_find_signature(text, &len)) != NULL)
	{
		text	  +=signature - text;

		memset(text, '*', len);
		text	  +=len;
	}
}

static void
mask_tokens(ErrorData *edata)
{
	size_t		len;

	mask_text(edata->message);
	mask_text(edata->detail);
	mask_text(edata->detail_log);
	mask_text(edata->hint);
	mask_text(edata->context);
	mask_text(edata->internalquery);
	if (debug_query_string && !edata->hide_stmt && cozi_find_signature(debug_query_string, &len))
		edata->hide_stmt = true;
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

void
cozi_mask_init(void)
{
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = mask_tokens;
}
