# One machine against a hub whose shards are foreign tables: what a write, a user's
# page and the top of all cost.  The nodes are databases of the same server, so that no
# network is in the figures: they are what the hub costs at least.
# conf: max_connections = 300
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my $posts = 50_000;
my $dbh = Bench::connect();
$dbh->{pg_server_prepare} = 1;
$dbh->do("CREATE EXTENSION $_") for qw(cozi postgres_fdw);
my ($host, $port) = map {
	$dbh->selectrow_array("SELECT split_part(current_setting('$_'), ',', 1)")
} qw(unix_socket_directories port);
my $columns = 'id bigint NOT NULL, author_id bigint NOT NULL, heat float8 NOT NULL, body text';
$dbh->do("CREATE TABLE one ($columns, PRIMARY KEY (author_id, id))");
$dbh->do('CREATE INDEX ON one (heat DESC, id DESC)');
my (%node, %leaf);
foreach my $n (0 .. 15)
{
	$dbh->do("CREATE DATABASE hub_$n");
	$node{$n} = DBI->connect("dbi:Pg:dbname=hub_$n;host=$host;port=$port",
		$ENV{PGUSER}, q(), { RaiseError => 1, PrintWarn => 0 });
	$node{$n}->do('CREATE EXTENSION cozi');
	$dbh->do("CREATE SERVER n$n FOREIGN DATA WRAPPER postgres_fdw
		OPTIONS (host '$host', port '$port', dbname 'hub_$n', extensions 'cozi')");
	$dbh->do("CREATE USER MAPPING FOR CURRENT_USER SERVER n$n");
	$dbh->do("SELECT cozi.add_node('n$n', 'n$n')");
}

# A shard a node, and the same top of all by PL/Proxy, which asks all nodes at once.
my $proxied = $dbh->selectrow_array(
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'plproxy'");
$dbh->do('CREATE EXTENSION plproxy') if $proxied;
foreach my $n (2, 16)
{
	my $to = join ', ', map {
		"cozi.move_buckets(array_agg(b) FILTER (WHERE b % $n = $_), 'n$_')" } 0 .. $n - 1;
	$dbh->do("SELECT $to FROM generate_series(0, 1023) b");
	$dbh->do("CREATE TABLE hub_$n ($columns, PRIMARY KEY (author_id, id))
		PARTITION BY HASH (author_id)");
	$dbh->do("CREATE INDEX ON hub_$n (heat DESC, id DESC)");
	foreach my $shard (0 .. $n - 1)
	{
		$node{$shard}->do($_)
		  for grep { !/^CREATE EXTENSION/ } @{ $dbh->selectcol_arrayref(
			"SELECT cozi.attach_plan('hub_$n', $n, 'n$shard')") };
		$node{$shard}->do("CREATE FUNCTION top_$n(k int, OUT id bigint, OUT heat float8)
			RETURNS SETOF record LANGUAGE sql STABLE AS 'SELECT id, heat
			FROM hub_${n}_shard_$shard ORDER BY heat DESC, id DESC LIMIT k'");
	}
	$dbh->do($_) for @{ $dbh->selectcol_arrayref("SELECT cozi.attach_plan('hub_$n', $n)") };
	$leaf{$n} = [ map { "hub_${n}_shard_$_" } 0 .. $n - 1 ];
	next unless $proxied;
	my $places = join ', ', map { "p$_ 'host=$host port=$port dbname=hub_$_'" } 0 .. $n - 1;
	$dbh->do("CREATE SERVER proxy_$n FOREIGN DATA WRAPPER plproxy OPTIONS ($places)");
	$dbh->do("CREATE USER MAPPING FOR PUBLIC SERVER proxy_$n");
	$dbh->do("CREATE FUNCTION top_$n(k int, OUT id bigint, OUT heat float8) RETURNS SETOF record
		LANGUAGE plproxy AS 'CLUSTER ''proxy_$n''; RUN ON ALL;'");
}
$dbh->do("INSERT INTO $_ SELECT g, g % 20000, (g * 7919) % 100003, repeat('x', 100)
	FROM generate_series(1, $posts) g") for qw(one hub_2 hub_16);
$_->do('ANALYZE') for $dbh, values %node;

# Milliseconds of a prepared statement, the mean of some.
my $id = $posts;
sub ms
{
	my ($times, $sql, @arguments) = @_;
	my $statement = $dbh->prepare($sql);
	my $began = time;
	for (1 .. $times)
	{
		$statement->execute(map { $_->() } @arguments);
		$statement->fetchall_arrayref if $statement->{NUM_OF_FIELDS};
	}
	return (time - $began) * 1000 / $times;
}
my $next = sub { ++$id };
my $author = sub { int(rand(20000)) };
sub insert { my $t = shift; return sub {
	ms(100, "INSERT INTO $t VALUES (?::bigint, ?::bigint, 1, 'x')", $next, $author) } }
sub page { my $t = shift; return sub {
	ms(200, "SELECT * FROM $t WHERE author_id = ?::bigint ORDER BY id DESC LIMIT 10", $author) } }
sub top { my $t = shift; return sub {
	ms(20, "SELECT id, heat FROM $t ORDER BY heat DESC, id DESC LIMIT 10") } }
sub each_top { my $n = shift; return top('(' . join(' UNION ALL ', map {
	"(SELECT id, heat FROM $_ ORDER BY heat DESC, id DESC LIMIT 10)" } @{ $leaf{$n} }) . ') x') }

# Inserts of a row a second, by eight clients.
$dbh->do("CREATE SEQUENCE ids START 1000000000");
sub writers
{
	my $t = shift;
	my $file = Bench::script("insert_$t",
		"\\set a random(0, 19999)\nINSERT INTO $t VALUES (nextval('ids'), :a, 1, 'x');\n");
	return sub {
		Bench::pgbench(protocol => 'prepared', clients => 8, seconds => 4, files => [$file]) };
}

Bench::title("milliseconds, $posts posts, prepared, one client");
foreach my $n (2, 16)
{
	my @pair = (runs => 3, unit => 'ms');
	Bench::pair("insert a row, $n shards", @pair,
		new => [ 'hub', insert("hub_$n") ], old => [ 'one table', insert('one') ]);
	Bench::pair("a user's ten newest, $n shards", @pair,
		new => [ 'hub', page("hub_$n") ], old => [ 'one table', page('one') ]);
	Bench::pair("top ten of all, $n shards", @pair,
		new => [ 'ten a shard, merged', each_top($n) ], old => [ 'one table', top('one') ]);
	Bench::pair("top ten of all, $n shards, through the table", @pair,
		new => [ 'ten a shard, merged', each_top($n) ], old => [ 'MergeAppend', top("hub_$n") ]);
	Bench::pair("insert, eight clients, $n shards", runs => 3, unit => 'tps', more => 1,
		new => [ 'hub', writers("hub_$n") ], old => [ 'one table', writers('one') ]);
	next unless $proxied;
	Bench::pair("top ten of all, $n shards, PL/Proxy", @pair,
		new => [ 'ten a shard, merged', each_top($n) ],
		old => [ 'PL/Proxy', top("top_$n(10)") ]);
}
