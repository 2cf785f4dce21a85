import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The benchmark's windowed sum on Kafka Streams with `exactly_once_v2`:
 * `StreamsSum BOOTSTRAP FROM TO THREADS WINDOW-MS INTERVAL-MS FOLDER`. Runs until it is killed.
 *
 * The input's keys are its customers, so that nothing is repartitioned.
 */
public final class StreamsSum {
    public static void main(String[] a) throws Exception {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "streams-" + a[2]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, a[0]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Long.parseLong(a[5]));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(a[3]));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, a[6]);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        // Closed windows are looked for this often; else once a second.
        settings.put("__emit.interval.ms.kstreams.windowed.aggregation__", 100);
        Duration window = Duration.ofMillis(Long.parseLong(a[4]));
        var state = Materialized.<String, Sum, WindowStore<Bytes, byte[]>>as("sums")
            .withKeySerde(Serdes.String()).withValueSerde(sums()).withRetention(window.multipliedBy(4));
        var source = Consumed.with(Serdes.String(), orders())
            .withTimestampExtractor((record, before) -> ((Order) record.value()).ts);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(a[1], source)
            .groupByKey(Grouped.with(Serdes.String(), orders()))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(window))
            .emitStrategy(EmitStrategy.onWindowClose())
            .aggregate(() -> new Sum(0, 0), (key, order, sum) -> new Sum(sum.orders + 1, sum.total + order.cents), state)
            .toStream()
            .map((key, sum) -> KeyValue.pair(
                "{\"customer\":" + key.key() + "}",
                Order.result(key.window().end(), Long.parseLong(key.key()), sum.orders, sum.total)))
            .to(a[2], Produced.with(Serdes.String(), Serdes.String()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        new CountDownLatch(1).await();
    }

    private record Sum(long orders, long total) {}

    private static Serde<Sum> sums() {
        return Serdes.serdeFrom(
            (topic, sum) -> sum == null ? null : ByteBuffer.allocate(16).putLong(sum.orders).putLong(sum.total).array(),
            (topic, bytes) -> {
                if (bytes == null) {
                    return null;
                }
                ByteBuffer read = ByteBuffer.wrap(bytes);
                return new Sum(read.getLong(), read.getLong());
            });
    }

    /** Only ever read. */
    private static Serde<Order> orders() {
        return Serdes.serdeFrom(
            (topic, order) -> {
                throw new IllegalStateException("orders are not written");
            },
            (topic, bytes) -> {
                try {
                    return Order.parse(bytes);
                } catch (IOException malformed) {
                    throw new UncheckedIOException(malformed);
                }
            });
    }
}
