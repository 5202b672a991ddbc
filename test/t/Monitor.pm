package Monitor;

# What the tests of latencies share: a server that cozi is preloaded in, or not.

use strict;
use warnings;
use Exporter 'import';
use Warm;

our @EXPORT = qw(server $timeout $asleep $least);

# A timeout counts from before a statement is planned, and a busy machine may take long
# to begin with it: short ones are for nothing that has to be executed.
our $timeout = "SET statement_timeout = '1s'";

# How long a victim ran at the least it says itself: asleep() notes what the timeout
# leaves, in a sequence, which no failure takes back.
our $asleep = <<'SQL';
CREATE SEQUENCE least_ms;
CREATE FUNCTION asleep(seconds float8) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	PERFORM setval('least_ms', greatest(1, 1000 * extract(epoch FROM statement_timestamp()
		+ current_setting('statement_timeout')::interval - clock_timestamp()) - 1)::bigint);
	PERFORM pg_sleep(seconds);
END $$;
SQL
our $least = '(SELECT last_value FROM least_ms)';

sub server
{
	my ($name, $preload, @conf) = @_;
	my $node = Warm->new($name);
	$node->init;
	$node->append_conf(
		'postgresql.conf', join "\n",
		"shared_preload_libraries = '$preload'",
		'max_connections = 60',
		'autovacuum = off',
		'restart_after_crash = on',
		"cozi.slow_plan_ms = -1",
		@conf, '');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements')
	  if $preload =~ /pg_stat_statements/;
	$node->safe_psql('postgres', 'CREATE EXTENSION cozi');
	return $node;
}

1;
