package Plan;

# Plan.pm: the plans of the room nodes, run as their reader runs them.
#
#     my $plan = Plan->new({ here => $node, south => $other }, 'cozi.split_plan(...)');
#     $plan->run;                    # each statement on its node, in order
#     $plan->run(phase => 'copy');
#     $plan->step($step, 'undo');    # that of one step
#     $plan->again($step);           # as the page says, after a crash or an error
#
# Statements on the node "here", which prints the plan, are run by \gexec.

use strict;
use warnings;
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

sub new
{
	my ($class, $nodes, $call, $db) = @_;
	my $self = bless { nodes => $nodes, db => $db // 'postgres', notices => '' }, $class;
	$nodes->{here}->safe_psql($self->{db},
		"SET client_min_messages = warning; DROP TABLE IF EXISTS plan;
		CREATE TABLE plan AS SELECT * FROM $call");
	foreach my $row (split /\n/, $self->ask('SELECT step, node, phase, undo IS NULL FROM plan'))
	{
		my ($step, @facts) = split /\|/, $row;
		$self->{steps}{$step} = \@facts;
	}
	return $self;
}

sub ask
{
	my ($self, $sql) = @_;
	return $self->{nodes}{here}->safe_psql($self->{db}, $sql);
}

# The numbers of the steps for which a condition holds.
sub steps
{
	my ($self, $condition) = @_;
	return split /\n/, $self->ask("SELECT step FROM plan WHERE $condition ORDER BY step");
}

# One column of a step on its node; what psql returned, and the error.
sub step
{
	my ($self, $step, $column) = @_;
	my ($name) = @{ $self->{steps}{$step} };
	my $script = "SELECT $column FROM plan WHERE step = $step \\gexec\n";
	$script = $self->ask("SELECT $column FROM plan WHERE step = $step") if $name ne 'here';
	return 0 if $script eq '';
	my ($status, undef, $error) = House::attempt($self->{nodes}{$name}, $self->{db}, $script);
	$self->{notices} .= $error;
	return ($status, $error);
}

# What a reader does who does not know whether a step has happened: what it left is
# taken back, where that is possible, and its statement is run again.
sub again
{
	my ($self, $step) = @_;
	my (undef, $phase, $no_undo) = @{ $self->{steps}{$step} };
	foreach my $column ($no_undo eq 't' || $phase !~ /prepare|copy/ ? () : 'undo', 'statement')
	{
		my ($status, $error);
		for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
		{
			($status, $error) = $self->step($step, $column);
			last if $status == 0;
			usleep(100_000);
		}
		next if $status == 0;
		diag("step $step, $column: $error");
		return 0;
	}
	return 1;
}

# The steps that satisfy a condition; those of a phase that follow one another on a
# node in one psql.  A comparison and a swap that give up are run again.
sub run
{
	my ($self, %only) = @_;
	my $condition = join ' AND ', 'true', map { "$_ = '$only{$_}'" } keys %only;
	foreach my $group (split /\n/, $self->ask(qq{SELECT min(step), max(step), node, phase
		FROM (SELECT *, step - row_number() OVER (PARTITION BY node, phase ORDER BY step) AS run
			FROM plan WHERE $condition) x
		GROUP BY node, phase, run ORDER BY 1}))
	{
		my ($first, $last, $name, $phase) = split /\|/, $group;
		my $query = "SELECT statement FROM plan WHERE step BETWEEN $first AND $last ORDER BY step";
		my $script = "$query \\gexec\n";
		$script = $self->ask("SELECT string_agg(statement, E';\n') FROM ($query) x")
		  if $name ne 'here';
		my ($status, $error);
		my $times = $phase =~ /compare|swap/ ? $PostgreSQL::Test::Utils::timeout_default : 1;
		for (1 .. $times)
		{
			($status, undef, $error) = House::attempt($self->{nodes}{$name}, $self->{db}, $script);
			$self->{notices} .= $error;
			last if $status == 0 || $error !~ /lock timeout|not confirmed up to/;
		}
		next if $status == 0;
		diag("steps $first to $last on $name: $error");
		return 0;
	}
	return 1;
}

1;
