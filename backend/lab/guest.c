/*
 * The guest of the lab: process 1 of an initramfs, and all that runs in it.
 *
 * It rewrites memory at a set rate, counts what it wrote, checks all it wrote against what it must
 * have written, and answers both over TCP, so that lost work and damaged memory show after a
 * migration. memory_ok stays false once anything was found damaged.
 *
 * The kernel hands its unknown parameters over as environment:
 *   vf_ip=ADDRESS/PREFIX  vf_write=BYTES_PER_SECOND  vf_over=BYTES  vf_name=NAME
 *
 * Protocol on port 7070, one line each way, as often as the client likes:
 *   status            -> {"name":...,"write_rate":...,"over_bytes":...,"work_bytes":...,...}
 *   write RATE OVER   -> the same line with the new values, or {"error":"..."}
 *   disk RATE OVER    -> the same for its disk: see struct disk_writer
 *   poweroff          -> the guest switches itself off
 *   crash             -> it tells the machine that it has crashed, as a kernel that panics does
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <linux/reboot.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

enum {
    PORT = 7070,
    MAX_CLIENTS = 16,
    LINE_BYTES = 256,
    PAGE_BYTES = 4096,
    PAGE_WORDS = PAGE_BYTES / 8,
    SLICE_MS = 20,
    STALL_SLICES = 5, /* after a pause, at most this many slices are made up for */
    PATTERN_BYTES = 16 << 20,
    BEAT_PAGES = 16,
    NEWEST_PAGES = 2048, /* checked at every status: what a migration had to send last */
    SWEPT_PAGES = 1024,  /* checked at every status besides, the next ones each time */
    TOUCHED_PAGES = 256, /* as many are touched before the emulator's TLB is flushed */
    FLUSH_PAGES = 64,    /* more than the kernel invalidates one by one */
    SETTLE_MS = 120,
    SETTLE_ROUNDS = 3,
    RESERVE_BYTES = 64 << 20, /* left to the kernel when a buffer is asked for */
    WORK_ROUNDS = 36,         /* see work_on */
    BLOCK_BYTES = 64 << 10,
    BLOCK_WORDS = BLOCK_BYTES / 8,
    DISK_START = 88 << 20, /* where on the disk the ring of blocks begins */
    PVPANIC_PORT = 0x505,
    PVPANIC_PANICKED = 1,
};

static const char *const MODULES[] = {
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
    "failover", "net_failover", "virtio_net", "virtio_blk", "button", "evdev",
};

struct client {
    int fd;
    size_t used;
    char line[LINE_BYTES];
};

struct writer {
    uint64_t *buffer;
    uint64_t over_bytes;
    uint64_t rate;   /* bytes per second asked for */
    uint64_t page;   /* the next page of the buffer */
    uint64_t stamp;  /* pages written since boot: makes every visit leave other content */
    uint64_t first;  /* the stamp when the buffer was new */
    uint64_t swept;  /* how old a page the next status begins its sweep with */
    uint64_t work;   /* bytes written since boot */
    double credit;   /* bytes that may be written now */
    double last_s;
};

/*
 * Rewrites a ring of blocks of the disk past the page cache, one after the other. The first word of
 * a block says its turn, counted from 0, the others follow from that: so anybody who reads the disk
 * later can tell whether a write got lost. Each block is read and checked before its next turn.
 */
struct disk_writer {
    int fd; /* -1: it has never been asked to write */
    uint64_t rate;
    uint64_t over_bytes;
    uint64_t turn;   /* of the next block */
    uint64_t damages;
    uint64_t errors; /* reads and writes that failed */
    double credit;
    double last_s;
};

static struct writer writer;
static struct disk_writer disk = {.fd = -1};
static uint64_t block[BLOCK_WORDS] __attribute__((aligned(PAGE_BYTES)));
static uint64_t *pattern;
static uint64_t noise[PAGE_WORDS * 2];
static uint64_t *beats;
static uint64_t beat_count;
static void *flushed;
static uint64_t damages;
static volatile uint64_t digest; /* of all that was written; volatile, so that it is made */
static const char *guest_name = "guest";

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

static void load_modules(void)
{
    for (size_t i = 0; i < sizeof MODULES / sizeof *MODULES; i++) {
        char path[128];
        snprintf(path, sizeof path, "/modules/%s.ko", MODULES[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue; /* built into this kernel */
        if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
            say("module %s: %s", MODULES[i], strerror(errno));
        close(fd);
    }
}

static int bring_up(int fd, const char *name)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0)
        return -1;
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request);
}

static int set_address(int fd, unsigned long call, const char *name, uint32_t address)
{
    struct ifreq request = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = address;
    return ioctl(fd, call, &request);
}

static void configure_network(void)
{
    const char *wanted = getenv("vf_ip");
    char address[64];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bring_up(fd, "lo");
    if (!wanted) {
        say("no vf_ip on the kernel's command line");
        return;
    }
    snprintf(address, sizeof address, "%s", wanted);
    char *slash = strchr(address, '/');
    int prefix = slash ? atoi(slash + 1) : 24;
    if (slash)
        *slash = 0;
    uint32_t mask = htonl(prefix ? ~0u << (32 - prefix) : 0);
    if (set_address(fd, SIOCSIFADDR, "eth0", inet_addr(address)) != 0 ||
        set_address(fd, SIOCSIFNETMASK, "eth0", mask) != 0 || bring_up(fd, "eth0") != 0)
        say("eth0: %s", strerror(errno));
    close(fd);
}

static uint64_t pattern_word(uint64_t i)
{
    return (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

static void *pages_of_memory(uint64_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void damaged(const char *what, uint64_t number)
{
    if (damages++ < 8)
        say("memory damaged: %s %" PRIu64, what, number);
}

static void fill_pattern(void)
{
    pattern = pages_of_memory(PATTERN_BYTES);
    for (uint64_t i = 0; i < PATTERN_BYTES / 8; i++)
        pattern[i] = pattern_word(i);
}

/*
 * Makes the emulator forget its TLB. That grows to what is touched between two flushes, and QEMU
 * walks it once for every dirty page when it collects them, under its big lock; yet a guest of one
 * process never switches address spaces, so nothing else would flush it. Taking away more pages
 * than the kernel invalidates one by one makes the kernel reload CR3.
 */
static void forget_translations(void)
{
    mprotect(flushed, FLUSH_PAGES * PAGE_BYTES, PROT_NONE);
    mprotect(flushed, FLUSH_PAGES * PAGE_BYTES, PROT_READ);
}

static void check_pattern(void)
{
    for (uint64_t i = 0; i < PATTERN_BYTES / 8; i++) {
        if (i % (TOUCHED_PAGES * PAGE_WORDS) == 0)
            forget_translations();
        if (pattern[i] != pattern_word(i)) {
            damaged("pattern word", i);
            return;
        }
    }
}

/* Pages that change all the time and must agree: one that a migration missed falls behind. */
static void beat(void)
{
    for (uint64_t i = 0; i < BEAT_PAGES; i++) {
        if (beats[i * PAGE_WORDS] != beat_count)
            damaged("beat page", i);
        beats[i * PAGE_WORDS] = beat_count + 1;
    }
    beat_count++;
}

static void make_check_pages(void)
{
    beats = pages_of_memory(BEAT_PAGES * PAGE_BYTES);
    flushed = pages_of_memory(FLUSH_PAGES * PAGE_BYTES);
    memset(flushed, 1, FLUSH_PAGES * PAGE_BYTES); /* only pages that are there need a flush */
}

static void fill_noise(void)
{
    uint64_t x = UINT64_C(0x2545F4914F6CDD1D);
    for (size_t i = 0; i < PAGE_WORDS * 2; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        noise[i] = x;
    }
}

/* Returns NULL, or why the writer cannot be set so. */
static const char *set_writer(uint64_t rate, uint64_t over)
{
    over = over / PAGE_BYTES * PAGE_BYTES;
    if (over == 0 && rate != 0)
        return "the size to write over must be at least 4096 bytes";
    if (over != writer.over_bytes) {
        struct sysinfo info;
        sysinfo(&info);
        uint64_t room = (uint64_t)info.freeram * info.mem_unit + writer.over_bytes;
        if (over && over + RESERVE_BYTES > room)
            return "the guest has not that much memory";
        if (writer.buffer)
            munmap(writer.buffer, writer.over_bytes);
        writer.buffer = NULL;
        writer.over_bytes = 0;
        writer.page = 0;
        writer.first = writer.stamp;
        writer.swept = 0;
        if (over) {
            void *memory = pages_of_memory(over);
            if (memory == MAP_FAILED)
                return "the guest has not that much memory";
            writer.buffer = memory;
            writer.over_bytes = over;
        }
    }
    writer.rate = rate;
    writer.credit = 0;
    writer.last_s = now_s();
    return NULL;
}

static uint64_t stamp_key(uint64_t stamp)
{
    return (stamp + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

/* How many pages of the buffer hold something. */
static uint64_t pages_written(void)
{
    uint64_t pages = writer.over_bytes / PAGE_BYTES, written = writer.stamp - writer.first;
    return written < pages ? written : pages;
}

/* The page written that many pages ago, 1 being the newest, must hold what was written then. */
static void check_page(uint64_t age)
{
    uint64_t pages = writer.over_bytes / PAGE_BYTES, stamp = writer.stamp - age;
    uint64_t number = (writer.page + pages - age) % pages, key = stamp_key(stamp), wrong = 0;
    const uint64_t *page = writer.buffer + number * PAGE_WORDS, *source = noise + stamp % PAGE_WORDS;
    for (size_t i = 0; i < PAGE_WORDS; i++)
        wrong |= page[i] ^ source[i] ^ key;
    if (wrong)
        damaged("written page", number);
}

static void check_buffer(void)
{
    uint64_t written = pages_written();
    for (uint64_t i = 1; i <= NEWEST_PAGES + SWEPT_PAGES && i <= written; i++) {
        if (i % TOUCHED_PAGES == 0)
            forget_translations();
        if (i > NEWEST_PAGES)
            writer.swept = writer.swept % written + 1;
        check_page(i <= NEWEST_PAGES ? i : writer.swept);
    }
}

/*
 * What a real program does for each page it writes. Without it the writer would need a tenth of
 * its CPU, and a throttled one would write as fast as ever.
 */
static void work_on(const uint64_t *page)
{
    uint64_t made = digest;
    for (size_t round = 0; round < WORK_ROUNDS; round++)
        for (size_t i = 0; i < PAGE_WORDS; i++)
            made = (made ^ page[i]) * UINT64_C(0x9E3779B97F4A7C15);
    digest = made;
}

static void write_page(void)
{
    uint64_t *page = writer.buffer + writer.page * PAGE_WORDS;
    const uint64_t *source = noise + writer.stamp % PAGE_WORDS;
    uint64_t key = stamp_key(writer.stamp), pages = writer.over_bytes / PAGE_BYTES;
    if (pages_written() == pages)
        check_page(pages);
    for (size_t i = 0; i < PAGE_WORDS; i++)
        page[i] = source[i] ^ key;
    work_on(page);
    writer.stamp++;
    writer.work += PAGE_BYTES;
    if (++writer.page * PAGE_BYTES >= writer.over_bytes)
        writer.page = 0;
}

static void write_slice(void)
{
    const double slice_s = SLICE_MS / 1000.0;
    double now = now_s();
    double most = (double)writer.rate * slice_s * STALL_SLICES;
    writer.credit += (double)writer.rate * (now - writer.last_s);
    writer.last_s = now;
    if (writer.credit > most && most > PAGE_BYTES)
        writer.credit = most;
    while (writer.credit >= PAGE_BYTES) {
        for (int i = 0; i < 64 && writer.credit >= PAGE_BYTES; i++) {
            write_page();
            writer.credit -= PAGE_BYTES;
        }
        forget_translations();
        if (now_s() - now > 2 * slice_s)
            return; /* asked for more than this CPU can do: the clients come first */
    }
}

static uint64_t disk_bytes(void)
{
    uint64_t bytes = 0;
    int fd = open("/dev/vda", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (ioctl(fd, BLKGETSIZE64, &bytes) != 0)
        bytes = 0;
    close(fd);
    return bytes;
}

static uint64_t block_word(uint64_t turn, uint64_t i)
{
    return i ? (turn + 1) * UINT64_C(0x9E3779B97F4A7C15) + i : turn;
}

/* Returns NULL, or why the disk cannot be written so. */
static const char *set_disk_writer(uint64_t rate, uint64_t over)
{
    over = over / BLOCK_BYTES * BLOCK_BYTES;
    if (over == 0 && rate != 0)
        return "the part of the disk to write over must be at least 65536 bytes";
    if (rate && DISK_START + over > disk_bytes())
        return "the disk is not that large";
    if (disk.fd < 0 && rate)
        disk.fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
    if (disk.fd < 0 && rate)
        return "the disk cannot be opened";
    if (over && over != disk.over_bytes) {
        disk.over_bytes = over;
        disk.turn = 0;
    }
    disk.rate = rate;
    disk.credit = 0;
    disk.last_s = now_s();
    return NULL;
}

static void check_block(off_t at, uint64_t turn)
{
    if (pread(disk.fd, block, BLOCK_BYTES, at) != BLOCK_BYTES) {
        disk.errors++;
        return;
    }
    for (uint64_t i = 0; i < BLOCK_WORDS; i++)
        if (block[i] != block_word(turn, i)) {
            if (disk.damages++ < 8)
                say("disk damaged: block of turn %" PRIu64, turn);
            return;
        }
}

static void write_block(void)
{
    uint64_t blocks = disk.over_bytes / BLOCK_BYTES;
    off_t at = DISK_START + (off_t)(disk.turn % blocks * BLOCK_BYTES);
    if (disk.turn >= blocks)
        check_block(at, disk.turn - blocks);
    for (uint64_t i = 0; i < BLOCK_WORDS; i++)
        block[i] = block_word(disk.turn, i);
    if (pwrite(disk.fd, block, BLOCK_BYTES, at) != BLOCK_BYTES)
        disk.errors++;
    else
        disk.turn++;
}

static void write_disk_slice(void)
{
    double began = now_s(), most = (double)disk.rate * SLICE_MS / 1000.0 * STALL_SLICES;
    disk.credit += (double)disk.rate * (began - disk.last_s);
    disk.last_s = began;
    if (disk.credit > most && most > BLOCK_BYTES)
        disk.credit = most;
    while (disk.credit >= BLOCK_BYTES && now_s() - began < 2 * SLICE_MS / 1000.0) {
        write_block();
        disk.credit -= BLOCK_BYTES;
    }
}

static void answer_status(char *reply, size_t size)
{
    check_pattern();
    check_buffer();
    snprintf(reply, size,
             "{\"name\":\"%s\",\"write_rate\":%" PRIu64 ",\"over_bytes\":%" PRIu64
             ",\"work_bytes\":%" PRIu64 ",\"memory_ok\":%s,\"disk_bytes\":%" PRIu64
             ",\"disk_rate\":%" PRIu64 ",\"disk_over_bytes\":%" PRIu64 ",\"disk_blocks\":%" PRIu64
             ",\"disk_errors\":%" PRIu64 ",\"disk_ok\":%s,\"uptime_s\":%.3f}\n",
             guest_name, writer.rate, writer.over_bytes, writer.work,
             damages ? "false" : "true", disk_bytes(), disk.rate, disk.over_bytes, disk.turn,
             disk.errors, disk.damages || disk.errors ? "false" : "true", now_s());
}

static void answer(const char *line, char *reply, size_t size)
{
    uint64_t rate, over;
    const char *problem = NULL;
    if (strcmp(line, "poweroff") == 0)
        reboot(RB_POWER_OFF);
    if (strcmp(line, "crash") == 0 && ioperm(PVPANIC_PORT, 1, 1) == 0)
        outb(PVPANIC_PANICKED, PVPANIC_PORT);
    if (sscanf(line, "write %" SCNu64 " %" SCNu64, &rate, &over) == 2)
        problem = set_writer(rate, over);
    else if (sscanf(line, "disk %" SCNu64 " %" SCNu64, &rate, &over) == 2)
        problem = set_disk_writer(rate, over);
    else if (strcmp(line, "status") != 0)
        problem = "unknown request";
    if (problem)
        snprintf(reply, size, "{\"error\":\"%s\"}\n", problem);
    else
        answer_status(reply, size);
}

static void hang_up(struct client *client)
{
    close(client->fd);
    client->fd = -1;
}

static void serve(struct client *client)
{
    ssize_t got = read(client->fd, client->line + client->used, LINE_BYTES - 1 - client->used);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            hang_up(client);
        return;
    }
    client->used += (size_t)got;
    char *end;
    while ((end = memchr(client->line, '\n', client->used))) {
        char reply[512];
        size_t taken = (size_t)(end - client->line) + 1;
        *end = 0;
        if (end > client->line && end[-1] == '\r')
            end[-1] = 0;
        answer(client->line, reply, sizeof reply);
        if (send(client->fd, reply, strlen(reply), MSG_NOSIGNAL) < 0) {
            hang_up(client);
            return;
        }
        client->used -= taken;
        memmove(client->line, client->line + taken, client->used);
    }
    if (client->used >= LINE_BYTES - 1)
        hang_up(client);
}

static int listen_on_port(void)
{
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        say("port %d: %s", PORT, strerror(errno));
    return fd;
}

static void greet(int listener, struct client *clients)
{
    int one = 1, idle_s = 60, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (clients[i].fd < 0) {
            clients[i].fd = fd;
            clients[i].used = 0;
            return;
        }
    close(fd);
}

/* The power button, so that `virsh shutdown` is heeded; -1 where there is none. */
static int open_button(void)
{
    for (int i = 0; i < 8; i++) {
        char path[32], name[64] = "";
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (ioctl(fd, EVIOCGNAME(sizeof name), name) > 0 && strstr(name, "Power Button"))
            return fd;
        close(fd);
    }
    return -1;
}

static void heed_button(int fd)
{
    struct input_event event;
    while (read(fd, &event, sizeof event) == sizeof event)
        if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) {
            say("power button: off");
            sync();
            reboot(RB_POWER_OFF);
        }
}

static uint64_t number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

int main(void)
{
    struct client clients[MAX_CLIENTS];
    struct pollfd polled[MAX_CLIENTS + 2];
    int settling = SETTLE_ROUNDS;

    setvbuf(stdout, NULL, _IOLBF, 0);
    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    configure_network();
    if (getenv("vf_name"))
        guest_name = getenv("vf_name");
    fill_noise();
    fill_pattern();
    make_check_pages();
    const char *problem = set_writer(number("vf_write"), number("vf_over"));
    if (problem)
        say("%s", problem);
    for (int i = 0; i < MAX_CLIENTS; i++)
        clients[i].fd = -1;
    int listener = listen_on_port();
    int button = open_button();
    say("%s: ready after %.2f s", guest_name, now_s());

    for (;;) {
        polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = button, .events = POLLIN};
        for (int i = 0; i < MAX_CLIENTS; i++)
            polled[i + 2] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
        int writing = writer.rate && writer.buffer;
        int busy = writing || disk.rate;
        poll(polled, MAX_CLIENTS + 2, busy ? SLICE_MS : settling ? SETTLE_MS : -1);
        if (writing) {
            beat();
            write_slice();
        }
        if (disk.rate)
            write_disk_slice();
        if (settling > 0) { /* the boot touched much, and the TLB shrinks only with time */
            settling--;
            forget_translations();
        }
        if (polled[0].revents)
            greet(listener, clients);
        if (polled[1].revents)
            heed_button(button);
        for (int i = 0; i < MAX_CLIENTS; i++)
            if (polled[i + 2].revents && clients[i].fd == polled[i + 2].fd)
                serve(&clients[i]);
    }
}
