# restore.pl SCHEMA.sql: SQL that restores a schema-only dump, statement by
# statement, and says what it left out.
#
# The dump is never given to psql itself, whose commands could run programs: it
# is cut into statements here, and a function of the server executes each.
# Statements that change no schema (COPY, DO, INSERT ...) are left out.  A role,
# schema or extension that is missing is created, or gets a stand-in.

use strict;
use warnings;

my $text = do { local $/; open my $in, '<', $ARGV[0] or die "$ARGV[0]: $!\n"; <$in> };
$text =~ s/^\\(?:un)?restrict .*$//mg;

# Cut at semicolons outside of quotes, comments, parentheses and bodies.
my (@statements, $body);
my $statement = '';
while ($text =~ /\G(?:
		(?<skip>--[^\n]* | \/\*.*?\*\/)
	  | (?<kept>'(?:[^']|'')*' | "(?:[^"]|"")*" | (?<tag>\$(?:[A-Za-z_]\w*)?\$).*?\g{tag})
	  | (?<word>[A-Za-z_][\w\$]*)
	  | (?<end>;)
	  | (?<other>.))/gsx)
{
	my ($piece, $word) = ($&, $+{word});
	if (defined $+{skip}) { $statement .= ' '; next; }
	if (defined $+{end} && !$body)
	{
		push @statements, $statement if $statement =~ /\S/;
		$statement = '';
		next;
	}
	$statement .= $piece;
	next if !defined $word;

	# E'...' has escapes of its own
	$statement .= $& if lc $word eq 'e' && $text =~ /\G'(?:[^'\\]|\\.|'')*'/gsc;
	# BEGIN ATOMIC ... END of a function holds semicolons
	if ($statement =~ /^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\b/i)
	{
		if ($word =~ /^(?:BEGIN|CASE)$/i) { $body++; }
		elsif ($word =~ /^END$/i && $body) { $body--; }
	}
}
push @statements, $statement if $statement =~ /\S/;

open my $helper, '<', $0 =~ s/[^\/]*$/restore.sql/r or die "restore.sql: $!\n";
print <$helper>;
my $left_out = 0;
foreach (@statements)
{
	s/^\s+|\s+$//g;
	# what is not the schema's, or what a private server does not need
	if (!/^(?:CREATE|ALTER|COMMENT|GRANT|REVOKE|SET|SECURITY)\b/i
		&& !/^SELECT\s+pg_catalog\.set_config\b/i
		|| /^(?:CREATE|ALTER)\s+(?:DATABASE|SUBSCRIPTION|TABLESPACE|SYSTEM|EVENT\s+TRIGGER)\b/i)
	{
		$left_out++ unless /^(?:\\|COPY|SELECT)/i;
		next;
	}
	my $quote = 'cozi';
	$quote .= 'x' while index($_, "\$$quote\$") >= 0;
	print "SELECT pg_temp.run(\$$quote\$$_\$$quote\$) \\g /dev/null\n";
}
print "INSERT INTO pg_temp.left_out VALUES ('$left_out statements that change no schema')\n"
  if $left_out;
print ";SELECT 'left out: ' || what FROM pg_temp.left_out GROUP BY what ORDER BY min(n);\n";
