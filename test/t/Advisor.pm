package Advisor;

# Advisor.pm: what the advisor's TAP files share.
#
#     my $node = Advisor::golden($name);   # a server with the golden schema
#     Advisor::found($node, $db)           # "relation: code code", one a line
#     Advisor::expected($node, $db)        # the same, from the comments
#     Advisor::ask($node, $db, $user, $sql)    # answer and messages, in one session

use strict;
use warnings;
use FindBin;
use House;
use Warm;
use PostgreSQL::Test::Utils;

our $golden_sql = join '', map { slurp_file("$FindBin::Bin/advisor_$_.sql") } qw(good bad);

sub golden
{
	my ($name, @conf) = @_;
	my $node = Warm->new($name);
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', "max_locks_per_transaction = 128\n$_") foreach '', @conf;
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE golden');
	$node->safe_psql('golden', 'CREATE EXTENSION cozi');
	$node->safe_psql('golden', $golden_sql);
	return $node;
}

# What a statement returns, and its messages.  There is one session a server,
# database and user, because the plans of advice are made once in each.
my %sessions;

sub ask
{
	my ($node, $db, $user, $sql) = @_;
	my $session = $sessions{ join ' ', $node->name, $db, $user // '' } //= House::session($node,
		$db, on_error_stop => 0, extra_params => [ $user ? ('-U', $user) : () ]);
	my $out = $session->query($sql);
	my $messages = $session->{stderr};
	$session->{stderr} = '';
	return ($out, $messages);
}

# The same, of a statement that must not fail.
sub answer
{
	my ($node, $db, $user, $sql) = @_;
	my ($out, $messages) = ask($node, $db, $user, $sql);
	die "$sql: $messages" if $messages =~ /ERROR|FATAL/;
	return $out;
}

sub quit
{
	$_->quit foreach values %sessions;
	%sessions = ();
	return;
}

sub expected
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, q{
		SELECT c.oid::regclass || ': ' || (SELECT string_agg(DISTINCT x, ' ' ORDER BY x)
		                                   FROM string_to_table(d.description, ' ') x)
		FROM pg_class c
		JOIN pg_description d
			ON (d.classoid, d.objoid, d.objsubid) = ('pg_class'::regclass, c.oid, 0)
		WHERE c.relnamespace IN ('good'::regnamespace, 'bad'::regnamespace,
			'storage'::regnamespace) ORDER BY 1});
}

sub found
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, q{
		SELECT relation || ': ' || string_agg(DISTINCT code, ' ' ORDER BY code)
		FROM cozi.policy_advisor WHERE relation IS NOT NULL GROUP BY relation ORDER BY 1});
}

1;
