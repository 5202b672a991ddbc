# functions.awk: CREATE FUNCTION statements from a table of functions in C.
#
# A line of the table is: name, arguments, result, symbol, labels, support,
# comment; separated by tabs.  {uuid|bigint} in the arguments stands for one
# function with each of these types; support may be "-".  Lines that begin with
# "#" go into the script as comments.
BEGIN { FS = "\t" }
/^$/ { next }
/^#/ { sub(/^#/, "--"); print; next }

# Declares the function for each combination of types, from the first {...} on.
function declare(arguments,    before, after, types, n, i)
{
    if (match(arguments, /\{[^}]*\}/)) {
        before = substr(arguments, 1, RSTART - 1)
        after = substr(arguments, RSTART + RLENGTH)
        n = split(substr(arguments, RSTART + 1, RLENGTH - 2), types, "|")
        for (i = 1; i <= n; i++)
            declare(before types[i] after)
        return
    }
    printf "\nCREATE OR REPLACE FUNCTION %s(%s) RETURNS %s\n", $1, arguments, $3
    printf "    AS 'MODULE_PATHNAME', '%s'\n", $4
    printf "    LANGUAGE C %s%s;\n", $5, ($6 == "-" ? "" : "\n    SUPPORT cozi." $6)
    printf "COMMENT ON FUNCTION %s(%s) IS\n%s;\n", $1, arguments, literal($7)
}

# A string literal, in lines of at most 96 columns.
function literal(text,    words, n, i, line, all)
{
    n = split(text, words, " ")
    for (i = 1; i <= n; i++) {
        if (length(line) + length(words[i]) > 92) {
            all = all "'" line "'\n"
            line = ""
        }
        line = line words[i] (i < n ? " " : "")
    }
    return all "'" line "'"
}
{ declare($2) }
