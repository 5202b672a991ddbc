/*
 * policy/policy.h
 *		Policies: what the files of this room share.
 *
 *		owner.c		whose row it is: is_owner()
 *		view.c		what the caller may see: can_view()
 *		word.c		a visibility column as the words of can_view()
 *		protect.c	protect() and unprotect(): which statements, in which order
 *		expression.c	what its policies say
 *		check.c		what protect() looks at, and warns of
 *		state.c		what protect() has made, read back from a policy
 *		child.c		partitions and children, now and later
 *		keep_owner.c	the trigger that keeps a row with its owner
 *		subject.c	acting as a subject, for those who own the table
 *		why.c		why_visible()
 *		diff.c		save_policies(), policy_diff()
 *
 * The law: a policy is the owner's to change.  Whatever protect() makes it
 * returns as a statement, and unprotect() takes back that and nothing else.
 */
#ifndef COZI_POLICY_H
#define COZI_POLICY_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "base/base.h"

/* The arguments of protect(); a column that was not given has no name. */
typedef struct CoziProtection
{
	Oid			rel;
	CoziColumn	owner;
	CoziColumn	visibility;
	CoziColumn	grp;
	Jsonb	   *words;
	Oid			parent;
	CoziColumn	parent_key;
	char	   *parent_column;	/* what parent_key refers to */
	CoziColumn	deleted_at;
	char	   *override_role;
	bool		force;
	bool		dry_run;

	/* what was before the first protect() */
	bool		was_enabled;
	bool		was_forced;
	bool		sets_default;	/* of the owner column */
} CoziProtection;

static inline bool
cozi_given(const CoziColumn *column)
{
	return NameStr(column->name)[0] != '\0';
}

/* The names of what protect() makes. */
#define COZI_PROTECTED	"cozi_protected"	/* holds the state, and lets
											 * everything through */
#define COZI_CLOSED		"cozi_closed"	/* the same, of a child */
#define COZI_KEEP_OWNER	"cozi_keep_owner"

/* state.c */
extern Jsonb *cozi_policy_state(Oid relid, const char *policy);
extern char *cozi_state_text(Jsonb *state, const char *key);
extern bool cozi_state_flag(Jsonb *state, const char *key);
extern Jsonb *cozi_state_words(Jsonb *state);
extern char *cozi_protection_state(const CoziProtection *p);
extern List *cozi_strings(const char *sql, Oid relid);
extern char *cozi_joined(List *strings);

/* word.c */
extern char *cozi_visibility_word(const CoziProtection *p);
extern bool cozi_word_is_used(const CoziProtection *p, const char *word);

/* expression.c */
extern char *cozi_protection_statement(const CoziProtection *p, const char *template);

/* check.c */
extern void cozi_check_protection(CoziProtection *p, Relation rel);
extern bool cozi_owner_is_indexed(const CoziProtection *p);

/* child.c */
extern List *cozi_children(Oid relid, bool lock);
extern List *cozi_close_child(Oid child, bool force);
extern List *cozi_open_child(Oid child);
extern Jsonb *cozi_protected_ancestor(Oid relid);

/* subject.c */
extern Oid	cozi_asker(Oid function, Oid relid);
extern Oid	cozi_asking_role(Oid relid, const char *as_role);
extern void cozi_ask(Oid asker, Oid role, const char *subject, Oid relid, const char *rows,
					 const char *query);
extern char *cozi_key_text(Oid relid);

/* diff.c */
extern char *cozi_present_condition(Oid relid, Oid role);

#endif							/* COZI_POLICY_H */
