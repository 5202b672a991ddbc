package House;

# House.pm: what the house's TAP files share.
#
#     is(House::difference($old, $new), '', 'equal');    # sets of lines
#     House::signature($node, 'db');                     # see signature.sql
#     House::poll_through_crash($node, 'SELECT ...');    # until it gives t
#     my $psql = House::session($node, 'db', on_error_stop => 0);

use strict;
use warnings;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
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

1;
