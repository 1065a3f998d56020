#!/usr/bin/perl
# A worker with the five things that a job can do: return a result, fail, raise an exception, report progress, take time.
#
#     apt-get install libgearman-client-perl
#     perl worker.pl
#
# It connects to GEARMAN_HOST and GEARMAN_PORT, which Gearpool sets for the workers that it starts, or else to localhost:4730.

use strict;
use warnings;
use feature 'say';

use Gearman::Worker;
use Time::HiRes ();

$| = 1;

my $server = join ':', $ENV{GEARMAN_HOST} // 'localhost', $ENV{GEARMAN_PORT} // 4730;
my $worker = Gearman::Worker->new(job_servers => [$server]);

$worker->register_function(reverse => sub {
    my $job = shift;
    say 'reverse: ', length $job->arg, ' bytes';
    return scalar reverse $job->arg;
});

# No result is a failure.
$worker->register_function(fail => sub {
    say 'fail';
    return;
});

$worker->register_function(exception => sub {
    say 'exception';
    die "it went wrong\n";
});

$worker->register_function(progress => sub {
    my $job = shift;
    say 'progress';
    for my $step (1 .. 4) {
        $job->set_status($step, 4);
        $worker->send_work_data($job, "step $step\n");
    }
    return 'done';
});

$worker->register_function(sleep => sub {
    my $milliseconds = shift->arg;
    Time::HiRes::usleep($milliseconds * 1000);
    say "slept $milliseconds ms";
    return "slept $milliseconds ms";
});

$worker->work while 1;
