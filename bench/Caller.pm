package Caller;

# Caller.pm: a caller of the benches of policies, and what a query costs them.
#
#     use Caller;
#     Caller::prepare($dbh);          # the extension, a secret, the role app
#     my $token = Caller::token('-1');
#     my $ms = Caller::asked($dbh, $token, $query, $times);
#     my @ms = Caller::costs($dbh, $token, $times, $patience, @queries);
#
# CPU time of the backend, planning included: a busy machine slows the clock, and
# not the work.

use strict;
use warnings;
use Bench;
use Digest::SHA  qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);

my $secret = 'a secret of the bench, with 32 bytes or more';

sub prepare
{
	my ($dbh) = @_;
	$dbh->do('CREATE EXTENSION cozi');
	$dbh->do('SELECT cozi.add_secret(?)', undef, $secret);
	$dbh->do('CREATE ROLE app');
	$dbh->do('GRANT USAGE ON SCHEMA cozi TO app');
	return;
}

sub token
{
	my ($subject) = @_;
	my $part = encode_base64url('{"alg":"HS256"}') . '.'
	  . encode_base64url(sprintf('{"sub":"%s","exp":%d}', $subject, time + 7200));
	return $part . '.' . encode_base64url(hmac_sha256($part, $secret));
}

sub cpu
{
	my ($dbh) = @_;
	my $file = "/proc/$dbh->{pg_pid}/schedstat";
	open(my $stat, '<', $file) or die "$file: $!";
	return (split ' ', scalar <$stat>)[0] / 1e6;
}

# Milliseconds of CPU that a query takes as the caller: the mean of some, after one
# that warms up, each in a transaction of its own, as requests are, so that none
# profits from the one before.  before: a sub that prepares each transaction.  warm:
# the query is warm already.
sub asked
{
	my ($dbh, $token, $query, $times, %o) = @_;
	my $took = 0;
	foreach my $time (($o{warm} ? 1 : 0) .. $times)
	{
		$dbh->begin_work;
		$dbh->do('SET LOCAL max_parallel_workers_per_gather = 0');
		$dbh->do('SELECT cozi.login(?)', undef, $token);
		$o{before}->() if $o{before};
		$dbh->do('SET LOCAL ROLE app') unless $o{as_owner};
		my $before = cpu($dbh);
		$dbh->selectall_arrayref($query);
		$took += cpu($dbh) - $before if $time > 0;
		$dbh->rollback;
	}
	return $took / $times;
}

# The median of what each of some queries takes; they take turns.  A query that once
# takes more than $patience seconds counts as that long, and is not asked again.
sub costs
{
	my ($dbh, $token, $times, $patience, @queries) = @_;
	my @took = map { [] } @queries;
	my %late;
	$dbh->do("SET statement_timeout = '${patience}s'");
	foreach my $time (0 .. $times)
	{
		foreach my $i (grep { !$late{$_} } 0 .. $#queries)
		{
			my $ms = eval { asked($dbh, $token, $queries[$i], 1, warm => $time > 0) };
			$dbh->rollback if !defined $ms && !$dbh->{AutoCommit};
			$late{$i} = 1 if !defined $ms || $ms > 1000;
			push @{ $took[$i] }, $ms // $patience * 1000 if $time > 0 || $late{$i};
		}
	}
	$dbh->do('RESET statement_timeout');
	return map { Bench::median(@$_) } @took;
}

1;
