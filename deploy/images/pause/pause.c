/*
 * pause: the process that holds a pod's namespaces open.
 *
 * It waits for signals, reaps the children it inherits (it is process 1 of the pod where processes are shared),
 * and leaves on SIGINT or SIGTERM.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void) {
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0)
        return 1;
    for (;;) {
        int caught = 0;
        if (sigwait(&wanted, &caught) != 0)
            continue;
        if (caught != SIGCHLD)
            return 0;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
