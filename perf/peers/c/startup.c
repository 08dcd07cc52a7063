#include "bench.h"
int main(void)
{
    START();
    puts("ok");
    STOP();
    return 0;
}
