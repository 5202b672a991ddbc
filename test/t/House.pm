package House;

# House.pm: what the house's TAP files share.
#
#     is(House::difference($old, $new), '', 'equal');    # sets of lines
#     House::signature($node, 'db');                     # see signature.sql
#     House::poll_through_crash($node, 'SELECT ...');    # until it gives t
#     my $psql = House::session($node, 'db', on_error_stop => 0);
#     House::let_write($node, 2e6);    # until so many bytes of WAL are written
#     House::let_end($node);           # until no other client is at work
#     my $node = House::server('name');    # a Cluster whose safe_psql keeps its session
#     my ($status, $out, $err) = House::attempt($node, 'db', 'SELECT 1/0');    # its psql

use strict;
use warnings;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our $signature_sql = slurp_file("$FindBin::Bin/signature.sql");

sub signature
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, $signature_sql);
}

# A psql in the background.  Its timeout counts from the last query: that of
# background_psql counts from the first, and ends long tests on a slow machine.
sub session
{
	my ($node, @params) = @_;
	my $session = $node->background_psql(@params);
	$session->set_query_timer_restart;
	return $session;
}

# Scripts run in a session that stays, one by server, database and options: a psql and a
# backend for each question are most of the time of a test that asks much.  A server
# that was started anew gets a new session; a script leaves behind no setting, role or
# table of the session, and an error ends it, as it ends a psql.
my %kept;

sub attempt
{
	my ($node, $db, $sql, @params) = @_;
	my $mine = $kept{ $node->name } //= {};
	my $name = join ' ', $db, map { ref ? @$_ : $_ } @params;
	leave($node, grep { $_ ne $name } keys %$mine)
	  if $sql =~ /\b(?:DROP|ALTER)\s+DATABASE\b|\bDATABASE\b.*\bTEMPLATE\b/s;
	leave($node, $name) if $mine->{$name} && $mine->{$name}{postmaster} != ($node->{_pid} // 0);
	my $session = eval { $mine->{$name} //= session($node, $db, @params) }
	  or return (2, '', "$@");
	$session->{postmaster} = $node->{_pid} // 0;
	$session->{stderr} = '';
	my $out = eval { $session->query("$sql\n;\nDISCARD ALL") };
	return (0, $out, $session->{stderr}) if defined $out && $session->{run}->pumpable;
	my @failed = (3, $out // $session->{stdout}, $session->{stderr} || "$@");
	leave($node, $name);
	return @failed;
}

sub leave
{
	my ($node, @names) = @_;
	eval { $_->quit } foreach grep { $_ } delete @{ $kept{ $node->name } }{@names};
	return;
}

sub server
{
	return keep_sessions(PostgreSQL::Test::Cluster->new(@_));
}

sub keep_sessions
{
	my ($node) = @_;
	return bless $node, 'House::Server';
}

# How long others may write, whatever the machine's speed: for so many bytes of WAL.
sub let_write
{
	my ($node, $bytes) = @_;
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	return $node->poll_query_until('postgres',
		"SELECT pg_current_wal_insert_lsn() - '$lsn' > $bytes");
}

# Clients that were ended may be in a statement still.
sub let_end
{
	my ($node) = @_;
	return $node->poll_query_until(
		'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'});
}

# The lines in one text only, "-" for the first and "+" for the second.
sub difference
{
	my ($old, $new) = @_;
	my %old = map { $_ => 1 } split /\n/, $old;
	my %new = map { $_ => 1 } split /\n/, $new;
	return join "\n", (map { "- $_" } sort grep { !$new{$_} } keys %old),
	  (map { "+ $_" } sort grep { !$old{$_} } keys %new);
}

# poll_query_until of a server that may refuse connections meanwhile. That one
# writes the query into psql's input, and dies of a broken pipe when psql has
# gone before it reads.
sub poll_through_crash
{
	my ($node, $query) = @_;
	my @psql = ('psql', '-X', '-At', '-d', $node->connstr('postgres'), '-c', $query);

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my ($out, $err) = ('', '');
		return 1 if IPC::Run::run(\@psql, '<', \undef, '>', \$out, '2>', \$err) && $out eq "t\n";
		usleep(100_000);
	}
	return 0;
}

package House::Server;

our @ISA = ('PostgreSQL::Test::Cluster');

# What is compiled here runs once.
sub init
{
	my ($self, @params) = @_;
	$self->SUPER::init(@params);
	$self->append_conf('postgresql.conf', 'jit = off');
	return;
}

sub safe_psql
{
	my ($self, @query) = @_;
	my ($status, $out, $err) = House::attempt($self, @query);
	die "$err\nwhile running $query[1]" if $status;
	print STDERR "$err\n" if $err;
	return $out;
}

sub poll_query_until
{
	my ($self, $db, $query, $expected) = @_;
	my @last;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		@last = House::attempt($self, $db, $query);
		return 1 if $last[0] == 0 && $last[1] eq ($expected // 't');
		Time::HiRes::usleep(100_000);
	}
	Test::More::diag("$query\ngave at last\n$last[1]\n$last[2]");
	return 0;
}

1;
