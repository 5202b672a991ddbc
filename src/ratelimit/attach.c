/*
 * ratelimit/attach.c
 *		The limiter's memory, or what to answer without it.
 */
#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/resowner.h"

#include "ratelimit/ratelimit.h"

int			cozi_rate_limit_on_error = COZI_ON_ERROR_ERROR;

/*
 * Attach to the table, or return NULL with the reason.  Shared memory that is
 * full or too small must not take the caller's transaction down when the
 * administrator says otherwise, so the error is caught here; what the failed
 * attempt held is given back as a subtransaction would.  (A subtransaction
 * itself is not allowed in a parallel plan's leader on all versions.)
 */
CoziLimiter *
cozi_limiter_try(bool create, ErrorData **failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner attempt = ResourceOwnerCreate(owner, "cozi rate limiter");
	CoziLimiter *volatile limiter = NULL;

	*failure = NULL;
	CurrentResourceOwner = attempt;
	PG_TRY();
	{
		limiter = cozi_limiter(create);
	}
	PG_CATCH();
	{
		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		*failure = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	ResourceOwnerRelease(attempt, RESOURCE_RELEASE_BEFORE_LOCKS, *failure == NULL, false);
	ResourceOwnerRelease(attempt, RESOURCE_RELEASE_LOCKS, *failure == NULL, false);
	ResourceOwnerRelease(attempt, RESOURCE_RELEASE_AFTER_LOCKS, *failure == NULL, false);
	ResourceOwnerDelete(attempt);

	/* a cancel or a shutdown is not the limiter's to swallow */
	if (*failure && ERRCODE_TO_CATEGORY((*failure)->sqlerrcode) ==
		ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
		ReThrowError(*failure);
	return limiter;
}

/* The table, or NULL if there is none and the settings say to go on. */
CoziLimiter *
cozi_limiter_or_null(void)
{
	static CoziLimiter *limiter = NULL;
	static bool warned = false;
	ErrorData  *failure;

	if (likely(limiter != NULL))
		return limiter;
	limiter = cozi_limiter_try(true, &failure);
	if (limiter != NULL)
		return limiter;
	if (cozi_rate_limit_on_error == COZI_ON_ERROR_ERROR)
		ereport(ERROR,
				(errcode(failure->sqlerrcode),
				 errmsg("rate limiter has no shared memory: %s", failure->message),
				 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
				 failure->hint ? errhint("%s", failure->hint) :
				 errhint("Lower cozi.rate_limit_memory, give the server more shared memory, or "
						 "preload cozi; "
						 "cozi.rate_limit_on_error can let calls pass meanwhile.")));
	if (!warned)
		ereport(WARNING,
				(errcode(failure->sqlerrcode),
				 errmsg("rate limiter has no shared memory: %s", failure->message),
				 errdetail("By cozi.rate_limit_on_error, every call is %s.",
						   cozi_rate_limit_on_error == COZI_ON_ERROR_ALLOW ?
						   "allowed" : "denied")));
	warned = true;
	FreeErrorData(failure);
	return NULL;
}

CoziVerdict
cozi_verdict_without_table(const CoziCall *call)
{
	CoziVerdict verdict = {.allowed = cozi_rate_limit_on_error == COZI_ON_ERROR_ALLOW};

	if (verdict.allowed)
		verdict.remaining = call->max_calls - call->cost;
	else
		verdict.retry_after = verdict.reset_after = call->per;
	return verdict;
}
