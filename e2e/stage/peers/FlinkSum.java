import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * The benchmark's windowed sum on Flink, in a mini cluster inside of this process with state on the heap:
 * `FlinkSum BOOTSTRAP FROM TO PARALLELISM WINDOW-MS INTERVAL-MS FOLDER BOUNDED`.
 */
public final class FlinkSum {
    public static void main(String[] a) throws Exception {
        Configuration settings = new Configuration();
        settings.setString("state.backend.type", "hashmap");
        settings.setString("execution.checkpointing.storage", "filesystem");
        settings.setString("execution.checkpointing.dir", "file://" + a[6]);
        // Objects are not copied between operators of one chain: nothing here keeps them.
        settings.setString("pipeline.object-reuse", "true");
        var flow = StreamExecutionEnvironment.createLocalEnvironment(Integer.parseInt(a[3]), settings);
        flow.enableCheckpointing(Long.parseLong(a[5]), CheckpointingMode.EXACTLY_ONCE);
        var source = KafkaSource.<Tuple3<Long, Long, Long>>builder().setBootstrapServers(a[0]).setTopics(a[1])
            .setGroupId("flink-" + a[2]).setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty("isolation.level", "read_committed").setDeserializer(new Decode());
        if (Boolean.parseBoolean(a[7])) {
            source.setBounded(OffsetsInitializer.latest());
        }
        var sink = KafkaSink.<Result>builder().setBootstrapServers(a[0])
            .setRecordSerializer(KafkaRecordSerializationSchema.<Result>builder().setTopic(a[2])
                .setKeySerializationSchema(new Key()).setValueSerializationSchema(new Value()).build())
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE).setTransactionalIdPrefix("flink-" + a[2])
            .setProperty("transaction.timeout.ms", "900000").build();
        var times = WatermarkStrategy.<Tuple3<Long, Long, Long>>forMonotonousTimestamps()
            .withTimestampAssigner((order, ignored) -> order.f2);
        flow.fromSource(source.build(), times, "orders")
            .keyBy(order -> order.f0, Types.LONG)
            .window(TumblingEventTimeWindows.of(Duration.ofMillis(Long.parseLong(a[4]))))
            .aggregate(new Sum(), new Emit())
            .sinkTo(sink);
        flow.execute("sum");
    }

    // Classes, not lambdas: Flink looks for their type.
    public static final class Key implements SerializationSchema<Result> {
        @Override
        public byte[] serialize(Result result) {
            return ("{\"customer\":" + result.customer + "}").getBytes(StandardCharsets.UTF_8);
        }
    }

    public static final class Value implements SerializationSchema<Result> {
        @Override
        public byte[] serialize(Result result) {
            return Order.result(result.end, result.customer, result.orders, result.total).getBytes(StandardCharsets.UTF_8);
        }
    }

    public static final class Result {
        public long end;
        public long customer;
        public long orders;
        public long total;
    }

    /** Customer, cents, time. */
    public static final class Decode implements KafkaRecordDeserializationSchema<Tuple3<Long, Long, Long>> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple3<Long, Long, Long>> out) throws IOException {
            Order order = Order.parse(record.value());
            out.collect(Tuple3.of(order.customer, order.cents, order.ts));
        }

        @Override
        public TypeInformation<Tuple3<Long, Long, Long>> getProducedType() {
            return Types.TUPLE(Types.LONG, Types.LONG, Types.LONG);
        }
    }

    /** Orders and their sum. */
    public static final class Sum implements AggregateFunction<Tuple3<Long, Long, Long>, Tuple2<Long, Long>, Tuple2<Long, Long>> {
        @Override
        public Tuple2<Long, Long> createAccumulator() {
            return Tuple2.of(0L, 0L);
        }

        @Override
        public Tuple2<Long, Long> add(Tuple3<Long, Long, Long> order, Tuple2<Long, Long> sum) {
            sum.f0 += 1;
            sum.f1 += order.f1;
            return sum;
        }

        @Override
        public Tuple2<Long, Long> getResult(Tuple2<Long, Long> sum) {
            return sum;
        }

        @Override
        public Tuple2<Long, Long> merge(Tuple2<Long, Long> one, Tuple2<Long, Long> other) {
            return Tuple2.of(one.f0 + other.f0, one.f1 + other.f1);
        }
    }

    public static final class Emit extends ProcessWindowFunction<Tuple2<Long, Long>, Result, Long, TimeWindow> {
        @Override
        public void process(Long customer, Context context, Iterable<Tuple2<Long, Long>> sums, Collector<Result> out) {
            Tuple2<Long, Long> sum = sums.iterator().next();
            Result result = new Result();
            result.end = context.window().getEnd();
            result.customer = customer;
            result.orders = sum.f0;
            result.total = sum.f1;
            out.collect(result);
        }
    }
}
