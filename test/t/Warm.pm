package Warm;

# Warm.pm: a server that answers psql(), safe_psql() and poll_query_until() in
# sessions that stay.  A psql for each statement costs a hundred times what most
# of the statements do.
#
#     my $node = Warm->new('campaign');    # instead of PostgreSQL::Test::Cluster->new
#     $node->safe_psql('postgres', 'SELECT 1');
#     $node->cool;                         # ends the sessions
#     $node->anew;                         # keeps the psql, and connects for each call
#
# There is one session a database and user.  What would leave something in it (SET,
# BEGIN, temporary tables), speaks to psql itself, or is about databases, roles and
# settings has a psql of its own, as in PostgreSQL::Test::Cluster.
#
# Nothing runs beside the statements, so that they can be counted.  House::server ends
# each script with DISCARD ALL, and may be given any.
#
# The law: a statement is answered as in a session of its own.  Statistics are not:
# a session reports them when it ends.  Who counts these, or sessions, or breaks
# servers off, cools before, or uses PostgreSQL::Test::Cluster.

use strict;
use warnings;
use parent -norequire, 'PostgreSQL::Test::Cluster';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();    # whose functions would be methods
use Time::HiRes qw(usleep);

my %sessions;    # by the server's name, then by database and user

# What is in no string, no quoted name and no comment.
sub bare
{
	my ($sql) = @_;
	return $sql =~ s/('(?:[^']|'')*'|"[^"]*"|\$(\w*)\$.*?\$\2\$|--[^\n]*)/ '' /gsr;
}

# What a session remembers, and what may end it or is about it.
my $leaves = qr/(?:^|;)\s*(?:SET|RESET|BEGIN|START|PREPARE|DEALLOCATE|DECLARE|LISTEN|LOAD|DISCARD)\b
	|\b(?:TEMP|TEMPORARY|pg_temp|COPY|\w*login|logout|setseed|set_config|currval|lastval)\b
	|\bpg_(?:try_)?advisory_(?:un)?lock|\bpg_(?:terminate|cancel)_backend|\\/xi;
my $databases = qr/\b(?:CREATE|DROP)\s+DATABASE\b/i;
my $disturbs = qr/$databases|\bCREATE\s+EXTENSION\b|\bpg_(?:reload_conf|terminate_backend)\b
	|\b(?:ALTER|DROP)\s+(?:DATABASE|ROLE|USER|EXTENSION|SYSTEM|OWNED)\b/xi;

sub psql
{
	my ($self, $dbname, $sql, %params) = @_;
	my ($option, $user, @more) = @{ $params{extra_params} // [ '-U', '' ] };
	my $stop = $params{on_error_stop} // 1;
	my $bare = bare($sql);
	my ($alone, $ending) = $self->{anew} ? (qr/\\/, $databases) : ($leaves, $disturbs);

	$self->cool if $bare =~ $ending;
	return $self->SUPER::psql($dbname, $sql, %params)
	  if (grep { !/^(?:stdout|stderr|on_error_stop|on_error_die|extra_params)$/ } keys %params)
	  || @more
	  || $option ne '-U'
	  || !$self->{_pid}
	  || $ENV{PGOPTIONS}
	  || $bare =~ $alone
	  || $bare =~ $ending
	  || $stop && !$params{on_error_die} && $bare =~ /;\s*\S/;    # an error would end it

	my ($out, $err, $lost) = $self->ask($dbname, $user, $sql);
	my $status = $lost ? 2 : $stop && $err =~ /^psql:<stdin>:\d+: ERROR:/m ? 3 : 0;
	die "error running SQL: '$err'\nwith sql '$sql'" if $status && $params{on_error_die};
	${ $params{stdout} } = $out if $params{stdout};
	${ $params{stderr} } = $err if $params{stderr};
	print $out if !$params{stdout} && !wantarray;
	return wantarray ? ($status, $out, $err) : $status;
}

sub poll_query_until
{
	my ($self, $dbname, $query, $expected) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;

	return $self->SUPER::poll_query_until($dbname, $query, $expected) if !defined $query;
	while (time < $until)
	{
		my ($status, $out, $err) = $self->psql($dbname, $query);
		return 1 if $status == 0 && $out eq ($expected // 't') && $err eq '';
		usleep($self->{anew} ? 100_000 : 20_000);
	}
	return $self->SUPER::poll_query_until($dbname, $query, $expected);    # which says what failed
}

# The answer and the messages of statements in the session of a database and user,
# and whether the session has ended.
sub ask
{
	my ($self, $dbname, $user, $sql) = @_;
	my $mine = $sessions{ $self->name } //= {};
	my $key = "$dbname $user";
	my $session = delete $mine->{$key};
	if (!$session || $session->{server} != $self->{_pid})
	{
		$session->{run}->kill_kill if $session;
		$session = $self->open_session($dbname, $user);
	}
	$session->{in} .= "\\connect\n" if $self->{anew} && $session->{asked};
	my $end = 'warm: end of statement ' . ++$session->{asked};
	my $semicolon = $sql =~ /;\s*$/ ? '' : "\n;";
	@$session{qw(out err)} = ('', '');
	$session->{in} .= "$sql$semicolon\n\\echo '$end'\n\\warn '$end'\n";
	my ($ended, $lost) = (qr/\n?\Q$end\E\n\z/);
	until ($session->{out} =~ $ended && $session->{err} =~ $ended)
	{
		eval { $session->{run}->pump } or ($lost = 1, last);
	}
	if ($lost) { eval { $session->{run}->finish } }
	else       { $mine->{$key} = $session }
	return ((map { s/$ended//r } @$session{qw(out err)}), $lost);
}

sub open_session
{
	my ($self, $dbname, $user) = @_;
	local %ENV = $self->_get_env;
	my $session = { in => '', out => '', err => '', asked => 0, server => $self->{_pid} };
	my @psql = ($self->installed_command('psql'), '-XAtq', '-d', $self->connstr($dbname));
	push @psql, '-U', $user if $user ne '';
	$session->{run} = IPC::Run::start([ @psql, '-f', '-' ],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

# From here on each call has a session of its own, though not a psql.
sub anew
{
	my ($self) = @_;
	$self->cool;
	$self->{anew} = 1;
	return $self;
}

# Ends the sessions.
sub cool
{
	my ($self) = @_;
	foreach my $session (values %{ delete $sessions{ $self->name } // {} })
	{
		$session->{in} .= "\\q\n";
		eval { $session->{run}->finish } or $session->{run}->kill_kill;
	}
	return;
}

foreach my $ends (qw(stop restart kill9 teardown_node))
{
	no strict 'refs';
	*$ends = sub {
		my ($self, @arguments) = @_;
		$self->cool;
		my $method = "SUPER::$ends";
		return $self->$method(@arguments);
	};
}

END
{
	local $?;    # is how the test ended
	$_->cool foreach map { bless { _name => $_ } } keys %sessions;
}

1;
