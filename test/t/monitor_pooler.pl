# A connection pooler in front of the server: the page's "monitor pool usage" with
# the real PgBouncer, whose clients wait where the server cannot see them.

use strict;
use warnings;
use IPC::Run ();
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('pooled');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements,cozi'");
$node->start;
my $q = sub { return $node->safe_psql('postgres', $_[0]); };
$q->('CREATE EXTENSION cozi; CREATE ROLE app LOGIN');

# an older PgBouncer knows no newer protocol than this
$ENV{PGMAXPROTOCOLVERSION} = '3.0';
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/ini", <<"END");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres user=app
[pgbouncer]
pool_mode = transaction
default_pool_size = 1
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = any
auth_file = $dir/users
stats_users = monitor
logfile = $dir/log
pidfile = $dir/pid
END
append_to_file("$dir/users", qq("app" ""\n"monitor" ""\n));
my $pooler = IPC::Run::start([ 'pgbouncer', "$dir/ini" ],
	'<', \undef, '>', "$dir/out", '2>', "$dir/err");
for (1 .. 100)
{
	last if -S "$dir/.s.PGSQL.$port";
	select(undef, undef, undef, 0.1);
}
my $pooled = "host=$dir port=$port user=app dbname=postgres";

# What the page has scraped: the columns by name.
sub pools
{
	my ($out) = run_command(
		[ 'psql', '-XAt', '-F', '|', '-P', 'tuples_only=off', '-d',
			"host=$dir port=$port user=monitor dbname=pgbouncer", '-c', 'SHOW POOLS' ]);
	my ($head, @rows) = split /\n/, $out;
	my @names = split /\|/, $head;
	foreach my $row (@rows)
	{
		my %pool;
		@pool{@names} = split /\|/, $row;
		return \%pool if ($pool{database} // '') eq 'postgres';
	}
	return {};
}

is($q->("SELECT count(*) FROM cozi.poolers() WHERE name = 'pgbouncer'
	AND source = 'a process of this machine'"), '1', 'the process of PgBouncer is seen');
like($q->("SELECT pooler FROM cozi.connections WHERE datname IS NULL AND rolname IS NULL"),
	qr/pgbouncer.*SHOW POOLS/, 'connections points to the SHOW POOLS of the pooler');
is($q->('SELECT count(*) FROM cozi.connections WHERE pooler IS NOT NULL AND datname IS NOT NULL'),
	'0', 'the row of all connections alone speaks of the pooler');
like($q->("SELECT detail FROM cozi.health WHERE metric = 'connections'"),
	qr/SHOW POOLS of .*pgbouncer/, 'health sends the reader of connections there');

my ($in, $out) = ('', '');
my $first = IPC::Run::start([ 'psql', '-XAtq', $pooled ], '<', \$in, '>', \$out, '2>&1');
$in = "BEGIN; SELECT 'begun';\n";
$first->pump until $out =~ /begun/;
is(pools()->{cl_waiting}, '0', 'no client waits while there is a server connection');
my $second = IPC::Run::start([ 'psql', '-XAtqc', 'SELECT 1', $pooled ],
	'<', \undef, '>', '/dev/null', '2>&1');
my $waiting = 0;
for (1 .. 600)
{
	last if $waiting = pools()->{cl_waiting};
	select(undef, undef, undef, 0.1);
}
is($waiting, '1', 'the alert of the page, cl_waiting > 0, is raised by a client that waits');
is($q->("SELECT total FROM cozi.connections WHERE rolname = 'app' AND datname IS NOT NULL"),
	'1', 'the server sees one connection, and no one who waits');
$in = "COMMIT;\n\\q\n";
$first->finish;
$second->finish;
is(pools()->{cl_waiting}, '0', 'the alert ends when the client is served');
$pooler->kill_kill;

{
	local $ENV{PGAPPNAME} = 'Supavisor';
	my $session = House::session($node, 'postgres');
	$session->query_safe('SELECT 1');
	delete local $ENV{PGAPPNAME};
	is($q->("SELECT name FROM cozi.poolers() WHERE source = 'the application_name of a session'"),
		'supavisor', 'a pooler on another machine is seen by the name of its sessions')
	  or diag($q->('SELECT application_name FROM pg_stat_activity'));
	$session->quit;
}
$node->stop;

done_testing();
