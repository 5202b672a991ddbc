/*
 * identity/init.c
 *		The front door of the identity: its settings.
 *
 * The law: a setting that decides whom to believe is PGC_SUSET or stricter,
 * and is in guarded[] below.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/key.h"
#include "identity/shared.h"

char	   *cozi_api_roles;

/*
 * Did a client's startup options shadow a setting of ours before the library
 * was loaded?  See cozi_settings_forged().  The setting tells parallel workers,
 * where nothing else is left of those options.
 */
static bool settings_forged = false;
static bool forged_setting = false;

/*
 * In a session that loads the library late, "-c cozi.jwt_audience=x" among a
 * client's startup options is a placeholder that takes the place of what the
 * database or configuration file says.  When the real setting is defined the
 * client's value is refused, but what it shadowed is lost: without a word,
 * any audience would do.  Such a session gets no identity.
 */
bool
cozi_settings_forged(void)
{
	return settings_forged || forged_setting;
}

/* It shows what is so, and a worker takes its leader's value over. */
static bool
check_forged(bool *newval, void **extra, GucSource source)
{
	return *newval == settings_forged || source == PGC_S_DEFAULT || InitializingParallelWorker;
}

static const char *const guarded[] = {
	"cozi.jwt_issuer",
	"cozi.jwt_audience",
	"cozi.jwt_types",
	"cozi.jwt_leeway",
	"cozi.jwt_max_lifetime",
	"cozi.role_claim",
	"cozi.api_roles",
};

static bool
set_at_startup_by_client(const char *name)
{
	struct config_generic *setting = find_setting_compat(name);

	return setting != NULL && setting->reset_source == PGC_S_CLIENT;
}

static void
define_settings(void)
{
	cozi_define_token_settings();
	DefineCustomStringVariable("cozi.role_claim",
							   "Sets the claims that hold the caller's roles: paths with dots.",
							   NULL,
							   &cozi_role_claim,
							   "role",
							   PGC_SUSET,
							   GUC_LIST_INPUT,
							   cozi_check_role_claim, cozi_assign_role_claim, NULL);
	DefineCustomStringVariable("cozi.api_roles",
							   "Sets the database roles that clients act as.",
							   NULL,
							   &cozi_api_roles,
							   "anon, authenticated",
							   PGC_SUSET,
							   GUC_LIST_INPUT,
							   NULL, NULL, NULL);
}

/*
 * A worker that loads the library when its leader has not, in a function's
 * body, may not take over what the configuration file says: parallel mode
 * forbids it.  Then that value, if the file it is from, is the default.
 */
static const char *
default_gateways(void)
{
	struct config_generic *placeholder;

	if (!IsParallelWorker() || InitializingParallelWorker)
		return "";
	placeholder = find_setting_compat("cozi.trusted_gateways");
	if (placeholder == NULL || placeholder->source != PGC_S_FILE)
		return "";
	return strdup(GetConfigOption("cozi.trusted_gateways", false, false));
}

static void
define_identity_settings(void)
{
	DefineCustomStringVariable("cozi.identity",
							   "Shows the verified claims of the caller; written by cozi.login().",
							   "Nobody can set it; it ends with the transaction.",
							   &cozi_identity_setting,
							   "",
							   PGC_SUSET,
							   GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   cozi_check_identity,
							   cozi_assign_identity,
							   NULL);
	DefineCustomStringVariable("cozi.trusted_gateways",
							   "Sets the session users whose request.jwt.claims are believed.",
							   "They verify tokens themselves and run no SQL of their clients.",
							   &cozi_trusted_gateways,
							   default_gateways(),
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   cozi_check_gateways,
							   cozi_assign_gateways,
							   NULL);
	DefineCustomBoolVariable("cozi.settings_forged",
							 "Shows whether a client's startup options have set a setting of cozi.",
							 "Then no token and no role is believed in the session.",
							 &forged_setting,
							 false,
							 PGC_SUSET,
							 GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							 check_forged, NULL, NULL);
	DefineCustomIntVariable("cozi.login_cache",
							"Sets the memory for verified tokens; 0 verifies each login.",
							"Without preloading cozi, it is read when the first login "
							"after a server start makes the memory.",
							&cozi_login_cache,
							4 * 1024, 0, 1024 * 1024,
							cozi_preloaded() ? PGC_POSTMASTER : PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
}

void
cozi_identity_init(void)
{
	bool		client[lengthof(guarded)];

	for (int i = 0; i < lengthof(guarded); i++)
		client[i] = set_at_startup_by_client(guarded[i]);
	define_settings();
	for (int i = 0; i < lengthof(guarded); i++)
		if (client[i] && !set_at_startup_by_client(guarded[i]))
			settings_forged = true;
	define_identity_settings();
	if (settings_forged && !IsParallelWorker())
		SetConfigOption("cozi.settings_forged", "on", PGC_SUSET, PGC_S_OVERRIDE);
	cozi_gateway_init();
	cozi_shared_init();
	cozi_jwk_init();
	cozi_mask_init();
	cozi_ask_init();
}
