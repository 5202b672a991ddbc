/*
 * ratelimit/refusal.c
 *		How a refusal is told, and under PostgREST an admission too.
 *
 * PostgREST makes an HTTP response of an error with the SQLSTATE "PGRST", whose
 * message is the body in JSON and whose detail holds the status and headers,
 * and of the setting response.headers, a JSON array.  The RateLimit fields are
 * those of draft-ietf-httpapi-ratelimit-headers-10, one policy for each limit:
 * the name of the limit, or what an unnamed one allows.
 *
 * Numbers, fixed words and names of limits, which are letters, digits and
 * "_.:-": nothing needs escaping.
 *
 * A refused call is no news: its error hides the statement and the context
 * from the server's log, where a flood of refused calls is a flood of lines.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"

static int64
ceil_seconds(int64 us)
{
	return (us + USECS_PER_SEC - 1) / USECS_PER_SEC;
}

static bool
under_postgrest(void)
{
	const char *method = GetConfigOption("request.method", true, false);

	return method && *method;
}

static const char *
policy_name(const CoziCall *call)
{
	if (call->name)
		return call->name;
	if (call->per % USECS_PER_SEC == 0)
		return psprintf("%d-per-%llds", call->max_calls, (long long) (call->per / USECS_PER_SEC));
	return psprintf("%d-per-%lldus", call->max_calls, (long long) call->per);
}

/* The window is told in whole seconds, or not at all. */
static const char *
policy_header(const CoziCall *call)
{
	if (call->per % USECS_PER_SEC == 0)
		return psprintf("\\\"%s\\\";q=%d;w=%lld", policy_name(call), call->max_calls,
						(long long) (call->per / USECS_PER_SEC));
	return psprintf("\\\"%s\\\";q=%d", policy_name(call), call->max_calls);
}

static const char *
state_header(const CoziCall *call, const CoziVerdict *verdict)
{
	return psprintf("\\\"%s\\\";r=%lld;t=%lld", policy_name(call),
					(long long) verdict->remaining,
					(long long) ceil_seconds(verdict->reset_after));
}

/* An error, for PostgREST or for anybody else. */
void
cozi_raise_refused(const CoziCall *call, const CoziVerdict *verdict)
{
	double		seconds = verdict->retry_after / (double) USECS_PER_SEC;

	if (under_postgrest())
		ereport(ERROR,
				(errcode(MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')),
				 errmsg_internal("{\"code\":\"53400\",\"message\":\"rate limit exceeded\","
								 "\"details\":\"retry_after=%.6f\",\"hint\":null}", seconds),
				 errdetail_internal("{\"status\":429,\"headers\":{\"Retry-After\":\"%lld\","
									"\"RateLimit-Policy\":\"%s\",\"RateLimit\":\"%s\"}}",
									(long long) ceil_seconds(verdict->retry_after),
									policy_header(call), state_header(call, verdict)),
				 errhidestmt(true), errhidecontext(true)));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 call->name ? errmsg("rate limit \"%s\" exceeded", call->name) :
			 errmsg("rate limit exceeded"),
			 errdetail("retry_after=%.6f", seconds),
			 errhint("Call again after so many seconds."),
			 errhidestmt(true), errhidecontext(true)));
	pg_unreachable();
}

/*
 * Under PostgREST, add the headers of admitted calls to the response, beside
 * those that the application has set.
 */
void
cozi_tell_admitted(const CoziCall *calls, const CoziVerdict *verdicts, int n)
{
	const char *old;
	int			len;
	StringInfoData headers;

	if (!under_postgrest())
		return;
	old = GetConfigOption("response.headers", true, false);
	len = old ? strlen(old) : 0;
	while (len > 0 && strchr(" \t\r\n", old[len - 1]))
		len--;
	if (len > 0 && old[len - 1] != ']')
		return;					/* not ours to judge */

	initStringInfo(&headers);
	if (len > 0)
		appendBinaryStringInfo(&headers, old, len - 1);
	else
		appendStringInfoChar(&headers, '[');
	for (int i = 0; i < n; i++)
		appendStringInfo(&headers, "%s{\"RateLimit-Policy\":\"%s\"},{\"RateLimit\":\"%s\"}",
						 strchr(headers.data, '{') ? "," : "",
						 policy_header(&calls[i]), state_header(&calls[i], &verdicts[i]));
	appendStringInfoChar(&headers, ']');
	(void) set_config_option("response.headers", headers.data, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	pfree(headers.data);
}
