/*
 * advisor/advisor.h
 *		What the advisor knows of policies and functions.
 *
 * The C side states facts about expressions; the views of sql/advisor/ join
 * the facts with the catalog and make findings of them.
 *
 * The law: nothing here plans or runs a function of a user, and nothing waits
 * for a lock.  Policies and standard bodies are parsed trees already; a body
 * that is a string is read by token.c, and by nothing that could raise.
 */
#ifndef COZI_ADVISOR_H
#define COZI_ADVISOR_H

#include "nodes/bitmapset.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/hsearch.h"

#include "base/base.h"

/* tree.c: a tree of the catalog; NULL where it is nested too deeply to be read */
extern Node *cozi_tree(Datum tree);

/* token.c: the words of SQL and PL/pgSQL */
typedef enum CoziTokenKind
{
	COZI_TOKEN_WORD,			/* folded to lower case unless it was quoted */
	COZI_TOKEN_QUOTED,
	COZI_TOKEN_STRING,
	COZI_TOKEN_OTHER			/* a number or one character */
} CoziTokenKind;

typedef struct CoziToken
{
	CoziTokenKind kind;
	char	   *text;
} CoziToken;

extern CoziToken *cozi_tokens(const char *text, int *count);

/* function.c: what a function reads, itself or through those it calls */
typedef struct CoziRead
{
	Oid			relid;
	Bitmapset  *trusted;		/* attribute numbers that its answer hangs on */
	Oid			via;			/* the function that reads; invalid: the
								 * policy */
	bool		definer;		/* reads with the rights of a function's owner */
} CoziRead;

typedef struct CoziFunction
{
	Oid			funcid;			/* hash key */
	int			depth;			/* of the calls that led here */
	bool		ready;			/* false while its own callees are looked at */
	bool		identity;		/* its answer depends on who calls */
	bool		unreadable;		/* of a language that the advisor cannot read */
	bool		definer;		/* SECURITY DEFINER */
	bool		simple;			/* one SELECT of an expression */
	bool		metadata;		/* reads what a user writes about themselves */
	List	   *settings;		/* char *: settings that any client may set */
	List	   *reads;			/* CoziRead * */
	List	   *calls;			/* Oid */
} CoziFunction;

extern HTAB *cozi_functions(void);
extern CoziFunction *cozi_function(HTAB *functions, Oid funcid);
extern void cozi_read_tree(HTAB *functions, Node *tree, CoziFunction *into);
extern void cozi_read_body(HTAB *functions, Oid schema, const char *body, CoziFunction *into);
extern CoziRead *cozi_read_of(CoziFunction *into, Oid relid, Oid via, bool definer);
extern void cozi_add_setting(CoziFunction *into, const char *name);
extern void cozi_add_callee(HTAB *functions, CoziFunction *into, Oid funcid);
extern bool cozi_is_extensions(Oid funcid);

/* condition.c: whom a condition lets pass */
typedef enum CoziPasses
{
	COZI_PASSES_SOME,
	COZI_PASSES_SIGNED_IN,		/* every caller who has an identity */
	COZI_PASSES_ALL
} CoziPasses;

typedef struct CoziCondition
{
	HTAB	   *functions;
	Oid			relid;
	List	   *roles;			/* char *: cozi.api_roles */
} CoziCondition;

extern CoziPasses cozi_passes(const CoziCondition *condition, Node *node);
extern bool cozi_binds(const CoziCondition *condition, Node *node);
extern bool cozi_reads_identity(HTAB *functions, Node *node);
extern bool cozi_equality(Oid opno);
extern Node *cozi_inner_expression(Node *node);
extern Node *cozi_strip(Node *node);
extern Var * cozi_owner_column(const CoziCondition *condition, Node *node, Node **compared);

/* rewrite.c: the same condition, its identity asked for once a statement */
extern Node *cozi_asked_once(HTAB *functions, Node *node, List **asked);
extern char *cozi_expression_text(Oid relid, Node *node);

/* policy.c: the rows of policy_facts() and function_facts() */
typedef struct CoziFacts
{
	struct ReturnSetInfo *result;
	CoziCondition condition;
	Oid			subject;		/* the policy, or the function */
	const char *clause;			/* using, check or NULL */
} CoziFacts;

extern void cozi_put_fact(CoziFacts *facts, const char *fact, Oid object, int attnum,
						  const char *detail, const char *fix);

/* clause.c: the facts of one clause */
extern void cozi_put_columns(CoziFacts *facts, Node *node);
extern void cozi_put_nulls(CoziFacts *facts, Node *node);

/* call.c: the facts of the functions that a clause calls */
extern void cozi_put_reads(CoziFacts *facts, CoziFunction *reads);
extern void cozi_put_clause(CoziFacts *facts, Node *node);

/* predicate.c: what parsed statements look for */
extern void cozi_put_predicates(struct ReturnSetInfo *result, List *statements);

#endif							/* COZI_ADVISOR_H */
