# Keys and revocations whose change was prepared: another session commits it, and
# perhaps has not loaded cozi.  The law: while a change is prepared a session
# asks the table at each login; from its commit on, no session believes the old.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('prepared');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_prepared_transactions = 4\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cozi');
$node->safe_psql('postgres', "SELECT cozi.add_secret('$secret', 'k')");
my $token = token('ann', '"jti":"t1"', $secret, '{"alg":"HS256","kid":"k"}');
my $check = "SELECT coalesce(cozi.check_token('$token'), 'good');";

# Other sessions, while the one below goes on.
sub elsewhere
{
	my ($sql) = @_;
	my $psql = 'psql -X -q -A -t -d "' . $node->connstr('postgres') . '"';
	return "\\! $psql -c \"$sql\"\n";
}
my $scans = "SELECT 'scans ' || pg_stat_get_xact_numscans('cozi.jwks_kid_idx'::regclass)";
my $asking = "$scans\\; $check $check $scans;\n";

# The answers of one session, and how often two checks asked the table.
sub session
{
	my ($sql, $server) = @_;
	my ($out, $err) = ('', '');
	($server // $node)->psql('postgres', $sql, stdout => \$out, stderr => \$err);
	my @counts = $out =~ /scans (\d+)/g;
	my @asked;
	push @asked, $counts[ 2 * $_ + 1 ] - $counts[ 2 * $_ ] for 0 .. @counts / 2 - 1;
	my @answers = grep { !/scans/ } split /\n/, $out . $err;
	return join(', ', @answers) . ' | ' . join(', ', @asked);
}
my $retire = elsewhere("BEGIN; SELECT cozi.retire_key('k'); PREPARE TRANSACTION 'p'");

for my $preload ('', 'cozi')
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'");
	$node->restart;
	my $when = $preload ? 'preloaded' : 'not preloaded';

	is( session("BEGIN; $check $asking"),
		'good, good, good | 0',
		"$when, a session keeps the key that it has read");
	is( session(
			"BEGIN; $check $asking $retire $asking" . elsewhere("ROLLBACK PREPARED 'p'") . $asking),
		'good, good, good, , good, good, good, good | 0, 2, 1',
		"$when, a session asks the table while a change is prepared");
	is( session("BEGIN; $check $retire $check" . elsewhere("COMMIT PREPARED 'p'") . $check),
		'good, , good, the key was retired | ',
		"$when, a session that knows the key refuses it from COMMIT PREPARED on");
	$node->safe_psql('postgres', "SELECT cozi.add_secret('$secret', 'k')");

	# the number of those that are prepared outlives a restart
	session("BEGIN; SELECT cozi.retire_key('k'); PREPARE TRANSACTION 'p';");
	$node->restart;
	is( session("BEGIN; $check $asking" . elsewhere("ROLLBACK PREPARED 'p'") . $asking),
		'good, good, good, good, good | 2, 1',
		"$when, a session asks the table while a change is prepared, after a restart");

	session("BEGIN; SELECT cozi.revoke_token('t1', 'infinity'); PREPARE TRANSACTION 'p';");
	is( session("BEGIN; $check" . elsewhere("COMMIT PREPARED 'p'") . $check),
		'good, the token was revoked | ',
		"$when, a revocation holds from COMMIT PREPARED on");
	$node->safe_psql('postgres', 'TRUNCATE cozi.revocations');
}

# A standby learns of a commit a moment after it can be seen there.
$node->backup('prepared');
my $standby = PostgreSQL::Test::Cluster->new('prepared_standby');
$standby->init_from_backup($node, 'prepared', has_streaming => 1);
$standby->start;
is( session("BEGIN; $check $asking", $standby),
	'good, good, good | 2',
	'a session of a standby asks the table at each login');
$standby->stop;

$node->stop;
done_testing();
