# The clients of doc/rls.md, word for word, straight and through PgBouncer in
# transaction mode with one server connection that all of them share.
# node-pg is what test/run installs for the JavaScript of the page.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('clients');
$node->init;
$node->start;
$node->safe_psql('postgres', <<"END");
CREATE EXTENSION cozi;
CREATE ROLE app LOGIN;
CREATE ROLE authenticator LOGIN;
GRANT USAGE ON SCHEMA cozi TO app, authenticator;
SELECT cozi.add_secret('$secret');
CREATE TABLE posts (id int, author text);
INSERT INTO posts VALUES (1, 'ann'), (2, 'bob'), (3, 'ann');
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON posts USING (author = cozi.uid_text());
GRANT SELECT ON posts TO app, authenticator;
END

my $page = slurp_file('doc/rls.md');
my $dir = $node->basedir;

# The block of the page that begins with this comment.
sub block
{
	my ($language, $title) = @_;
	$page =~ /^```$language\n(?:#|\/\/|--) \Q$title\E\n(.*?)^```$/ms
	  or die "doc/rls.md has no block \"$title\"";
	return $1;
}

# What a client prints for two people in turn, and for a bad token.
my $bad = token('ann', '', 'another secret, of 32 bytes or more');
my ($ann, $bob) = (token('ann'), token('bob'));
my $python = <<"END";

import asyncio
for token in ('$ann', '$bob', '$bad', '$ann'):
    try:
        print(call(token))
    except Exception as error:
        state = getattr(error, 'sqlstate', None) or getattr(error, 'pgcode', None)
        print(state, str(error).splitlines()[0])
END
(my $direct = $python)       =~ s/call\(token\)/posts_of(token)/;
(my $asynchronous = $python) =~ s/call\(token\)/asyncio.run(posts_of(token))/;
my %client = (
	'psycopg' => [ 'python3', 'python', $direct ],
	'psycopg, pipelined' => [ 'python3', 'python', $direct ],
	'psycopg2' => [ 'python3', 'python', $direct ],
	'asyncpg' => [ 'python3', 'python', $asynchronous ],
	'node-postgres' => [ 'node', 'js', <<"END" ]);
(async () => {
  for (const token of ['$ann', '$bob', '$bad', '$ann']) {
    try {
      console.log('[' + (await postsOf(token)).join(', ') + ']');
    } catch (error) {
      console.log(error.code, error.message);
    }
  }
  await pool.end();
})();
END

sub run_client
{
	my ($title, $host, $port) = @_;
	my ($command, $language, $driver) = @{ $client{$title} };
	local %ENV =
	  (%ENV, PGHOST => $host, PGPORT => $port, PGUSER => 'app', PGDATABASE => 'postgres');
	my $file = "$dir/client." . ($language eq 'js' ? 'js' : 'py');
	unlink $file;
	append_to_file($file, block($language, $title) . $driver);
	my ($out, $err) = ('', '');
	IPC::Run::run([ $command, $file ], '>', \$out, '2>', \$err) or $out .= $err;
	$out =~ s/\s+$//;
	return $out;
}

# an older PgBouncer knows no newer protocol than this
$ENV{PGMAXPROTOCOLVERSION} = '3.0';

# One server connection for everybody, given back after each transaction.
my $pool_port = PostgreSQL::Test::Cluster::get_free_port();
my $pool_dir = "$dir/pool";
mkdir $pool_dir;
append_to_file("$pool_dir/ini", <<"END");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres
[pgbouncer]
pool_mode = transaction
default_pool_size = 1
max_client_conn = 50
listen_addr =
listen_port = $pool_port
unix_socket_dir = $pool_dir
auth_type = any
auth_file = $pool_dir/users
logfile = $pool_dir/log
pidfile = $pool_dir/pid
ignore_startup_parameters = extra_float_digits,options
END
append_to_file("$pool_dir/users", qq("app" ""\n));

sub fixed_user
{
	my $ini = slurp_file("$pool_dir/ini");
	$ini =~ s/dbname=postgres\n/dbname=postgres user=app\n/;
	unlink "$pool_dir/ini";
	append_to_file("$pool_dir/ini", $ini);
	return;
}
fixed_user();
my $pooler = IPC::Run::start([ 'pgbouncer', "$pool_dir/ini" ],
	'<', \undef, '>', "$pool_dir/out", '2>', "$pool_dir/err");
for (1 .. 100)
{
	last if -S "$pool_dir/.s.PGSQL.$pool_port";
	select(undef, undef, undef, 0.1);
}

my $expected = "[1, 3]\n[2]\n28000 invalid token\n[1, 3]";
for my $title (sort keys %client)
{
	is(run_client($title, $node->host, $node->port),
		$expected, "$title: everybody's own posts, and an error for a bad token");
	is(run_client($title, $pool_dir, $pool_port), $expected, "$title: through the pooler");
}

# Two clients of the pooler in turn: what the first was is gone for the second.
my %session;

sub session
{
	my $name = shift;
	my ($in, $out) = ('', '');
	$session{$name} = { in => \$in, out => \$out };
	$session{$name}{run} = IPC::Run::start(
		[
			'psql', '-X', '-q', '-A', '-t', '-d',
			"host=$pool_dir port=$pool_port user=app dbname=postgres"
		],
		'<',
		\$in,
		'>',
		\$out,
		'2>&1',
		IPC::Run::timeout(60));
	return;
}

sub ask
{
	my ($name, $sql) = @_;
	my $s = $session{$name};
	${ $s->{out} } = '';
	${ $s->{in} } .= "$sql\n\\echo done\n";
	IPC::Run::pump($s->{run}) until ${ $s->{out} } =~ /done\n/;
	(my $out = ${ $s->{out} }) =~ s/\n?done\n//;
	return $out;
}
session('first');
session('second');
my $who =
	"SELECT pg_backend_pid(), coalesce(cozi.uid_text(), 'nobody'), coalesce(cozi.claims()::text, "
  . "'none'), (SELECT count(*) FROM posts);";
my ($pid) = ask('first', $who) =~ /^(\d+)\|nobody\|none\|0$/;
ok($pid, 'nobody to begin with');
is(ask('second', $who), "$pid|nobody|none|0", 'both have the same server process');
like(ask('first', "BEGIN;\nSELECT cozi.login('$ann');\n$who"),
	qr/^ann\n$pid\|ann\|.*\|2$/, 'the first is logged in');
ask('first', 'COMMIT;');
is(ask('second', $who), "$pid|nobody|none|0", 'the next client has no identity after a commit');
like(
	ask('first', "BEGIN;\nSELECT cozi.login('$ann');\nSELECT 1/0;"),
	qr/division by zero/,
	'a client fails in the middle of its transaction');
ask('first', 'ROLLBACK;');
is(ask('second', $who), "$pid|nobody|none|0", 'the next client has no identity after a rollback');
is(ask('first', "SELECT cozi.login('$ann');\n$who"),
	"ann\n$pid|nobody|none|0", 'a client has no identity in its own next transaction');
like(
	ask('first',
		"BEGIN;\nSELECT cozi.login('$ann');\nSAVEPOINT s;\nSELECT cozi.login('$bob');\n"
		  . "RELEASE s;\nCOMMIT;"),
	qr/ann\nbob/,
	'a client logs in within savepoints');
is(ask('second', $who), "$pid|nobody|none|0", 'the next client has no identity after savepoints');
like(ask('first', "SELECT cozi.login('$ann') \\; SELECT cozi.uid_text();"),
	qr/^ann\nann$/, 'a client logs in and reads in one message');
is(ask('second', $who),
	"$pid|nobody|none|0", 'the next client has no identity after a message of two statements');
# a first client that leaves in the middle
ask('first', "BEGIN;\nSELECT cozi.login('$ann');");
$session{first}{run}->kill_kill;
my $left = ask('second', $who);
like($left, qr/^\d+\|nobody\|none\|0$/,
	'the next client has no identity after a client was killed');
# what identity does not cover, as the page says
session('third');
ask('third',
		"BEGIN;\nSELECT cozi.login('$ann');\nDECLARE kept CURSOR WITH HOLD FOR SELECT id "
	  . "FROM posts;\nCOMMIT;");
is(ask('second', 'FETCH ALL FROM kept;'),
	"1\n3", 'a WITH HOLD cursor is read by the next client, as the page warns');
ask('second', 'CLOSE kept;');
# forged in the pooled session, for the next one
ask('third',
	"SET request.jwt.claims = '{\"sub\":\"ann\"}';\nSET cozi.identity = '{\"sub\":\"ann\"}';");
like(ask('second', $who),
	qr/^\d+\|nobody\|none\|0$/, 'what one client sets makes no identity for the next');

# A parameter does not show in pg_stat_activity; a literal does, as the page says.
my $seen =
	"SELECT query FROM pg_stat_activity WHERE usename = 'app' AND query LIKE '%login%' "
  . "AND pid <> pg_backend_pid()";
ask('third', "BEGIN;\nSELECT cozi.login('$ann');");
like($node->safe_psql('postgres', $seen), qr/\Q$ann\E/, 'a literal token is in pg_stat_activity');
ask('third', 'COMMIT;');
for my $s (values %session)
{
	${ $s->{in} } .= "\\q\n";
	eval { $s->{run}->finish; };
}
{
	local %ENV = (
		%ENV,
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGUSER => 'app',
		PGDATABASE => 'postgres');
	my ($out, $err) = ('', '');
	unlink "$dir/seen.py";
	append_to_file("$dir/seen.py", <<"END");
import psycopg
conn, other = psycopg.connect(), psycopg.connect(autocommit=True)
conn.execute("SELECT cozi.login(%s)", ('$ann',))
print(other.execute("$seen").fetchall())
END
	IPC::Run::run([ 'python3', "$dir/seen.py" ], '>', \$out, '2>', \$err);
	is("$out$err", "[('SELECT cozi.login(\$1)',)]\n", 'a parameter is not');
}

# PostgREST: the transaction it sends, as prepared statements that an earlier
# request of its session, by another caller, has used; with the page's function.
my ($before_request) =
  slurp_file('doc/postgrest.md') =~ /^```sql\n(CREATE FUNCTION api\.before_request.*?)^```$/ms
  or die 'doc/postgrest.md has no api.before_request()';
$node->safe_psql('postgres', 'CREATE SCHEMA api; CREATE ROLE anon; CREATE ROLE authenticated');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA api TO authenticator');
$node->safe_psql('postgres', 'GRANT authenticated TO authenticator');
$node->safe_psql('postgres', $before_request);

sub postgrest
{
	my ($headers, $claims) = @_;
	my ($out, $err) = ('', '');
	my $request = "BEGIN; EXECUTE settings('%s', '%s') \\g /dev/null\n"
	  . "EXECUTE before \\g /dev/null\nEXECUTE posts; COMMIT;\n";
	my $sql =
		'PREPARE settings AS '
	  . "SELECT set_config('request.headers', \$1, true), "
	  . "set_config('request.jwt.claims', \$2, true);\n"
	  . "PREPARE before AS SELECT api.before_request();\n"
	  . "PREPARE posts AS SELECT 'sees ' || "
	  . "coalesce(string_agg(id::text, ' ' ORDER BY id), 'nothing') FROM posts;\n"
	  . sprintf($request, qq({"authorization":"Bearer $bob"}), '{"sub":"bob","role":"app"}')
	  . sprintf($request, $headers, $claims);
	$node->psql(
		'postgres', $sql,
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', 'authenticator' ]);
	$out =~ s/^sees 2\n?// or $out = "bob: $out";
	return "$out$err";
}
is(postgrest(qq({"authorization":"Bearer $ann"}), '{"sub":"ann","role":"app"}'),
	'sees 1 3', 'a request of PostgREST with a token sees the rows of its user');
is(postgrest('{"accept":"*/*"}', ''),
	'sees nothing', 'a request of PostgREST without a token sees nothing');
is(postgrest('{"accept":"*/*"}', '{"role":"anon"}'),
	'sees nothing', 'a request of PostgREST with the token of a role sees nothing');
like(
	postgrest('{"accept":"*/*"}', '{"sub":"ann","role":"app"}'),
	qr/invalid token/,
	'claims of PostgREST without a token are refused');
like(
	postgrest(qq({"authorization":"Bearer $bad"}), '{"sub":"ann","role":"app"}'),
	qr/invalid token/,
	'a request of PostgREST with a token of another issuer is refused');

$pooler->signal('INT');
$pooler->finish;
$node->stop;
done_testing();
