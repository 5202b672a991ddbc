package Monitor;

# What the tests of latencies share: a server that cozi is preloaded in, or not.

use strict;
use warnings;
use Exporter 'import';
use Warm;

our @EXPORT = qw(server);

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
