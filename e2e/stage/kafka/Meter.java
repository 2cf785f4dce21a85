import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Input of benchmarks, and the reader that tells when output became visible. All that is said are lines of JSON.
 *
 * `Meter load BOOTSTRAP TOPIC COUNT KEYS BEGIN-MS STEP-US RATE`: orders of 100 bytes (see `meter.rs`), as fast as can be,
 * or RATE a second with the time of sending; says `loaded`. Then ticks (customer -1, worth nothing), until its standard
 * input ends.
 *
 * `Meter watch BOOTSTRAP TOPIC WEIGHT VALUE TIME FROM-MS UNTIL SECONDS`: reads committed records, adds up the fields WEIGHT
 * (`-`: one each) and VALUE, and takes the time since field TIME where that is FROM-MS or later; says `ready` at first, and what it saw when the weights
 * have reached UNTIL. Ends with its standard input, too.
 */
public final class Meter {
    private static final int VALUE_BYTES = 100;
    private static final long TICK_NANOS = TimeUnit.MILLISECONDS.toNanos(5);
    private static final Duration POLL = Duration.ofMillis(50);
    /** How long it looks for more after the last one that was expected. */
    private static final long AFTERWARDS_NANOS = TimeUnit.MILLISECONDS.toNanos(500);

    private static volatile boolean ended;

    public static void main(String[] a) throws Exception {
        Thread owner = new Thread(Meter::awaitEnd, "owner");
        owner.setDaemon(true);
        owner.start();
        if (a[0].equals("load")) {
            load(a);
        } else {
            watch(a);
        }
        Runtime.getRuntime().halt(0);
    }

    private static void awaitEnd() {
        try {
            while (System.in.read() >= 0) {
                // Nothing is ever sent.
            }
        } catch (IOException gone) {
            // The same as an end.
        }
        ended = true;
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static void load(String[] a) throws Exception {
        String topic = a[2];
        long count = Long.parseLong(a[3]), keys = Long.parseLong(a[4]), begin = Long.parseLong(a[5]);
        long step = Long.parseLong(a[6]), rate = Long.parseLong(a[7]);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", a[1]);
        settings.put("linger.ms", rate > 0 ? "0" : "20");
        settings.put("batch.size", "262144");
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            long started = System.nanoTime();
            for (long n = 0; n < count && failed.get() == null && !ended; n++) {
                if (rate > 0) {
                    long due = started + n * TimeUnit.SECONDS.toNanos(1) / rate;
                    for (long early = due - System.nanoTime(); early > 0; early = due - System.nanoTime()) {
                        LockSupport.parkNanos(early);
                    }
                }
                long at = rate > 0 ? System.currentTimeMillis() : begin + n * step / 1000;
                // Neighbours are of different customers, so that all partitions go on in step.
                long customer = n * 7919 % keys;
                var record = new ProducerRecord<>(topic, null, at, text(customer), order(n, customer, n * 7919 % 10007, at));
                producer.send(record, (sent, refused) -> {
                    if (refused != null) {
                        failed.set(refused);
                    }
                });
            }
            producer.flush();
            if (failed.get() != null) {
                throw failed.get();
            }
            say("{\"loaded\":" + count + ",\"seconds\":" + (System.nanoTime() - started) / 1e9 + "}");
            while (!ended) {
                long at = System.currentTimeMillis();
                for (int partition = 0; partition < partitions; partition++) {
                    producer.send(new ProducerRecord<>(topic, partition, at, text(-1), order(-1, -1, 0, at)));
                }
                producer.flush();
                LockSupport.parkNanos(TICK_NANOS);
            }
        }
    }

    private static byte[] text(long number) {
        return Long.toString(number).getBytes(StandardCharsets.UTF_8);
    }

    private static byte[] order(long n, long customer, long cents, long at) {
        String fields = "{\"n\":" + n + ",\"customer\":" + customer + ",\"cents\":" + cents + ",\"ts\":" + at + ",\"note\":\"";
        byte[] value = new byte[VALUE_BYTES];
        Arrays.fill(value, (byte) 'x');
        byte[] begin = fields.getBytes(StandardCharsets.UTF_8);
        System.arraycopy(begin, 0, value, 0, begin.length);
        value[VALUE_BYTES - 2] = '"';
        value[VALUE_BYTES - 1] = '}';
        return value;
    }

    private static void watch(String[] a) throws Exception {
        String topic = a[2], weight = a[3].equals("-") ? null : a[3], worth = a[4], time = a[5];
        long from = Long.parseLong(a[6]), until = Long.parseLong(a[7]);
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(Long.parseLong(a[8]));
        Properties settings = new Properties();
        settings.put("bootstrap.servers", a[1]);
        settings.put("isolation.level", "read_committed");
        settings.put("enable.auto.commit", "false");
        settings.put("max.poll.records", "100000");
        settings.put("fetch.max.wait.ms", "5");
        Latencies latencies = new Latencies();
        long records = 0, weights = 0, sum = 0, last = 0;
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(partition -> new TopicPartition(topic, partition.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            partitions.forEach(consumer::position);
            say("{\"ready\":true}");
            while (!ended && System.nanoTime() < deadline) {
                var batch = consumer.poll(POLL);
                long now = System.currentTimeMillis();
                for (var record : batch) {
                    byte[] value = record.value();
                    if (number(value, "customer") < 0) {
                        continue;
                    }
                    records++;
                    weights += weight == null ? 1 : number(value, weight);
                    sum += number(value, worth);
                    long moment = moment(value, time);
                    if (moment >= from) {
                        latencies.add(now - moment);
                    }
                    last = now;
                }
                if (weights >= until) {
                    deadline = Math.min(deadline, System.nanoTime() + AFTERWARDS_NANOS);
                }
            }
        }
        say("{\"records\":" + records + ",\"weight\":" + weights + ",\"sum\":" + sum + ",\"last_ms\":" + last
            + ",\"p50_ms\":" + latencies.of(0.5) + ",\"p99_ms\":" + latencies.of(0.99) + ",\"max_ms\":" + latencies.of(1) + "}");
    }

    /** Where the value of a field begins; the field must be there. */
    private static int begin(byte[] value, String field) {
        int length = field.length();
        for (int at = 1; at + length + 2 < value.length; at++) {
            if (value[at] == '"' && value[at + length + 1] == '"' && value[at + length + 2] == ':') {
                int same = 0;
                while (same < length && value[at + 1 + same] == field.charAt(same)) {
                    same++;
                }
                if (same == length) {
                    return at + length + 3;
                }
            }
        }
        throw new IllegalStateException("no field " + field + " in " + new String(value, StandardCharsets.UTF_8));
    }

    private static long number(byte[] value, String field) {
        int at = begin(value, field);
        boolean isNegative = value[at] == '-';
        long number = 0;
        for (at += isNegative ? 1 : 0; value[at] >= '0' && value[at] <= '9'; at++) {
            number = number * 10 + value[at] - '0';
        }
        return isNegative ? -number : number;
    }

    /** Milliseconds since 1970, also of a text as in RFC 3339. */
    private static long moment(byte[] value, String field) {
        int at = begin(value, field);
        if (value[at] != '"') {
            return number(value, field);
        }
        int end = at + 1;
        while (value[end] != '"') {
            end++;
        }
        return Instant.parse(new String(value, at + 1, end - at - 1, StandardCharsets.UTF_8)).toEpochMilli();
    }

    /** Counts by the millisecond; what is longer than the longest is counted with it. */
    private static final class Latencies {
        private static final int LONGEST = 100_000;
        private final long[] counts = new long[LONGEST + 1];
        private long all;

        void add(long ms) {
            counts[(int) Math.max(0, Math.min(LONGEST, ms))]++;
            all++;
        }

        /** The least that so much of them do not exceed. */
        long of(double part) {
            long wanted = (long) Math.ceil(all * part), seen = 0;
            for (int ms = 0; ms <= LONGEST; ms++) {
                seen += counts[ms];
                if (seen >= wanted) {
                    return ms;
                }
            }
            return LONGEST;
        }
    }
}
