/*
 * advisor/token.c
 *		The words of a function's body that is kept as a string.
 *
 * A lexer of its own, because the server's raises an error where a text is no
 * SQL, and PL/pgSQL is none.  Comments are left out; strings are kept as one
 * token, so that no word in either is taken for a name.
 *
 * The law: any text gives tokens, and none an error.
 */
#include "postgres.h"

#include "advisor/advisor.h"

typedef struct Lexer
{
	const char *at;
	CoziToken  *tokens;
	int			count;
	int			room;
} Lexer;

static void
add(Lexer *lexer, CoziTokenKind kind, const char *from, size_t length)
{
	CoziToken  *token;

	if (lexer->count == lexer->room)
	{
		lexer->room *= 2;
		lexer->tokens = repalloc_huge(lexer->tokens, lexer->room * sizeof(CoziToken));
	}
	token = &lexer->tokens[lexer->count++];
	token->kind = kind;
	token->text = pnstrdup(from, length);
}

/* A comment nests, as in SQL. */
static void
skip_comment(Lexer *lexer)
{
	int			depth = 0;

	while (*lexer->at)
	{
		if (strncmp(lexer->at, "/*", 2) == 0)
			depth++;
		else if (strncmp(lexer->at, "*/", 2) == 0)
			depth--;
		else
		{
			lexer->at++;
			continue;
		}
		lexer->at += 2;
		if (depth == 0)
			return;
	}
}

/* 'text' or "name"; a doubled quote stands for itself. */
static void
lex_quoted(Lexer *lexer, bool escapes)
{
	char		quote = *lexer->at++;
	char	   *text = palloc(strlen(lexer->at) + 1);
	size_t		length = 0;

	while (*lexer->at)
	{
		if (*lexer->at == quote)
		{
			if (lexer->at[1] != quote)
				break;
			lexer->at++;
		}
		else if (escapes && *lexer->at == '\\' && lexer->at[1])
			lexer->at++;
		text[		length++] = *lexer->at++;
	}
	if (*lexer->at)
		lexer->at++;
	add(lexer, quote == '"' ? COZI_TOKEN_QUOTED : COZI_TOKEN_STRING, text, length);
	pfree(text);
}

/* $tag$text$tag$; false where it is none */
static bool
lex_dollar(Lexer *lexer)
{
	const char *end = lexer->at + 1;
	char	   *tag;
	const char *close;

	while (isalnum((unsigned char) *end) || *end == '_' || (*end & 0x80))
		end++;
	if (*end != '$' || isdigit((unsigned char) lexer->at[1]))
		return false;
	tag = pnstrdup(lexer->at, end + 1 - lexer->at);
	close = strstr(end + 1, tag);
	if (close == NULL)
		close = end + 1 + strlen(end + 1);
	add(lexer, COZI_TOKEN_STRING, end + 1, close - end - 1);
	lexer->at = *close ? close + strlen(tag) : close;
	return true;
}

static void
lex_word(Lexer *lexer)
{
	const char *from = lexer->at;
	char	   *word;

	while (isalnum((unsigned char) *lexer->at) || *lexer->at == '_' || *lexer->at == '$' ||
		   (*lexer->at & 0x80))
		lexer->at++;
	add(lexer, COZI_TOKEN_WORD, from, lexer->at - from);
	word = lexer->tokens[lexer->count - 1].text;
	for (; *word; word++)
		*word = pg_ascii_tolower((unsigned char) *word);
}

/* The tokens of the text, in their order. */
CoziToken  *
cozi_tokens(const char *text, int *count)
{
	Lexer		lexer = {0};

	lexer.at = text;

	lexer.room = 64;
	lexer.tokens = palloc(lexer.room * sizeof(CoziToken));
	while (*lexer.at)
	{
		char		c = *lexer.at;

		if (isspace((unsigned char) c))
			lexer.at++;
		else if (strncmp(lexer.at, "--", 2) == 0)
			lexer.at += strcspn(lexer.at, "\n");
		else if (strncmp(lexer.at, "/*", 2) == 0)
			skip_comment(&lexer);
		else if ((c == 'e' || c == 'E') && lexer.at[1] == '\'')
		{
			lexer.at++;
			lex_quoted(&lexer, true);
		}
		else if (c == '\'' || c == '"')
			lex_quoted(&lexer, false);
		else if (c == '$' && lex_dollar(&lexer))
			continue;
		else if (isalpha((unsigned char) c) || c == '_' || (c & 0x80))
			lex_word(&lexer);
		else
			add(&lexer, COZI_TOKEN_OTHER, lexer.at++, 1);
	}
	*count = lexer.count;
	return lexer.tokens;
}
