package House;

# House.pm: what the house's TAP files share.
#
#     is(House::difference($old, $new), '', 'equal');    # sets of lines
#     House::signature($node, 'db');                     # see signature.sql
#     House::poll_through_crash($node, 'SELECT ...');    # until it gives t
#     my $psql = House::session($node, 'db', on_error_stop => 0);
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

# Scripts run in a session that stays, one by server and database: a psql and a backend
# for each question are most of the time of a test that asks much.  A server that was
# started anew gets a new session; a script leaves behind no setting, role or table of
# the session, and an error ends it, as it ends a psql.
my %kept;

sub attempt
{
	my ($node, $db, $sql) = @_;
	my $mine = $kept{ $node->name } //= {};
	leave($node, grep { $_ ne $db } keys %$mine)
	  if $sql =~ /\b(?:DROP|ALTER)\s+DATABASE\b|\bDATABASE\b.*\bTEMPLATE\b/s;
	leave($node, $db) if $mine->{$db} && $mine->{$db}{postmaster} != $node->{_pid};
	my $session = eval { $mine->{$db} //= session($node, $db) } or return (2, '', "$@");
	$session->{postmaster} = $node->{_pid};
	$session->{stderr} = '';
	my $out = eval { $session->query("$sql\n;\nDISCARD ALL") };
	return (0, $out, $session->{stderr}) if defined $out;
	my @failed = (3, $session->{stdout}, $session->{stderr} || "$@");
	leave($node, $db);
	return @failed;
}

sub leave
{
	my ($node, @dbs) = @_;
	eval { $_->quit } foreach grep { $_ } delete @{ $kept{ $node->name } }{@dbs};
	return;
}

sub server
{
	my $node = PostgreSQL::Test::Cluster->new(@_);
	return bless $node, 'House::Server';
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
	my ($self, $db, $sql, @params) = @_;
	return $self->SUPER::safe_psql($db, $sql, @params) if @params;
	my ($status, $out, $err) = House::attempt($self, $db, $sql);
	die "$err\nwhile running $sql" if $status;
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
