import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TransactionalIdNotFoundException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * What a Kafka broker says of itself, asked through Kafka's own client: `Judge PROPERTIES-FILE`.
 *
 * One request a line on standard input, as JSON with `op`; answered by lines of JSON, the last of which holds `done` or
 * `error`. Ends with its standard input. The names of requests and their fields are those of `judge.rs`.
 */
public final class Judge {
    private static final long MOST_SECONDS = 60;
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Base64.Encoder BASE64 = Base64.getEncoder();

    private final Properties properties;
    private final Admin admin;
    private final BufferedWriter out;

    private Judge(Properties properties, BufferedWriter out) {
        this.properties = properties;
        this.admin = Admin.create(properties);
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        try (var file = java.nio.file.Files.newBufferedReader(java.nio.file.Path.of(arguments[0]))) {
            properties.load(file);
        }
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 16);
        Judge judge = new Judge(properties, out);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode last = JSON.createObjectNode();
            try {
                last.set("done", judge.answer(JSON.readTree(line)));
            } catch (Exception failed) {
                Throwable cause = failed instanceof java.util.concurrent.ExecutionException ? failed.getCause() : failed;
                last.put("error", cause.toString());
            }
            judge.say(last);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private JsonNode answer(JsonNode request) throws Exception {
        String topic = request.path("topic").asText();
        switch (request.path("op").asText()) {
            case "records": return records(request);
            case "ends": return ends(topic);
            case "transactions": return transactions();
            case "transaction": return transaction(request.path("id").asText());
            case "producers": return producers(topic, request.get("partition").asInt());
            case "topics": return topics(request.get("topics"));
            case "create": return create(request);
            case "delete": return wait(admin.deleteTopics(List.of(topic)).all());
            case "add_partitions":
                return wait(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(request.get("total").asInt()))).all());
            case "delete_records": return deleteRecords(request);
            case "configure": return configure(request);
            case "allow":
                return wait(admin.createAcls(List.of(binding(request))).all());
            case "withdraw":
                return wait(admin.deleteAcls(List.of(binding(request).toFilter())).all());
            case "group_offsets": return groupOffsets(request.path("group").asText());
            case "produce": return produce(request);
            default: throw new IllegalArgumentException("unknown request: " + request);
        }
    }

    private void say(JsonNode line) throws Exception {
        out.write(JSON.writeValueAsString(line));
        out.write('\n');
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(MOST_SECONDS, TimeUnit.SECONDS);
    }

    private static JsonNode wait(KafkaFuture<?> future) throws Exception {
        get(future);
        return JSON.createObjectNode();
    }

    private List<TopicPartition> partitions(String topic) throws Exception {
        List<TopicPartition> found = new ArrayList<>();
        for (TopicPartitionInfo info : get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions()) {
            found.add(new TopicPartition(topic, info.partition()));
        }
        return found;
    }

    private static String encoded(byte[] bytes) {
        return bytes == null ? null : BASE64.encodeToString(bytes);
    }

    /** Every record between what the log begins with and its present end under `isolation`, at most `most`. */
    private JsonNode records(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        long most = request.get("most").asLong();
        long count = 0;
        Properties settings = new Properties();
        settings.putAll(properties);
        settings.put("isolation.level", request.get("isolation").asText());
        settings.put("enable.auto.commit", "false");
        settings.put("allow.auto.create.topics", "false");
        settings.put("max.poll.records", "10000");
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = partitions(topic);
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(MOST_SECONDS);
            while (!reached(consumer, ends)) {
                var batch = consumer.poll(Duration.ofMillis(200));
                if (!batch.isEmpty()) {
                    deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(MOST_SECONDS);
                } else if (System.nanoTime() > deadline) {
                    throw new IllegalStateException("no record came for a minute, and the end is not reached");
                }
                for (ConsumerRecord<byte[], byte[]> record : batch) {
                    if (record.offset() >= ends.get(new TopicPartition(topic, record.partition()))) {
                        continue;
                    }
                    if (++count > most) {
                        throw new IllegalStateException("more than " + most + " records");
                    }
                    say(line(record));
                }
            }
        }
        return JSON.createObjectNode().put("records", count);
    }

    private static boolean reached(KafkaConsumer<?, ?> consumer, Map<TopicPartition, Long> ends) {
        for (var end : ends.entrySet()) {
            if (consumer.position(end.getKey()) < end.getValue()) {
                return false;
            }
        }
        return true;
    }

    private static JsonNode line(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode line = JSON.createObjectNode();
        line.put("partition", record.partition()).put("offset", record.offset()).put("timestamp", record.timestamp());
        line.put("key", encoded(record.key())).put("value", encoded(record.value()));
        ArrayNode headers = line.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(encoded(header.value()));
        }
        return line;
    }

    private JsonNode ends(String topic) throws Exception {
        ArrayNode found = JSON.createArrayNode();
        for (TopicPartition partition : partitions(topic)) {
            found.addObject().put("partition", partition.partition())
                .put("begin", offset(partition, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED))
                .put("stable", offset(partition, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED))
                .put("end", offset(partition, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED));
        }
        return found;
    }

    private long offset(TopicPartition partition, OffsetSpec spec, IsolationLevel isolation) throws Exception {
        var listed = admin.listOffsets(Map.of(partition, spec), new ListOffsetsOptions(isolation));
        return get(listed.partitionResult(partition)).offset();
    }

    /** Every transaction that the coordinators know, whatever its state. */
    private JsonNode transactions() throws Exception {
        ArrayNode found = JSON.createArrayNode();
        for (TransactionListing listing : get(admin.listTransactions(new ListTransactionsOptions()).all())) {
            describe(listing.transactionalId(), found);
        }
        return found;
    }

    /** What the coordinator of one id knows: no other broker is asked, so that one of them may be away. */
    private JsonNode transaction(String id) throws Exception {
        ArrayNode found = JSON.createArrayNode();
        try {
            describe(id, found);
        } catch (java.util.concurrent.ExecutionException failed) {
            if (!(failed.getCause() instanceof TransactionalIdNotFoundException)) {
                throw failed;
            }
        }
        return found;
    }

    private void describe(String id, ArrayNode found) throws Exception {
        var described = get(admin.describeTransactions(List.of(id)).description(id));
        ObjectNode one = found.addObject().put("id", id).put("state", described.state().toString());
        one.put("producer_id", described.producerId()).put("producer_epoch", described.producerEpoch());
        one.put("timeout_ms", described.transactionTimeoutMs());
        one.put("partitions", described.topicPartitions().size());
        if (described.transactionStartTimeMs().isPresent()) {
            one.put("start_ms", described.transactionStartTimeMs().getAsLong());
        }
    }

    private JsonNode producers(String topic, int partition) throws Exception {
        ArrayNode found = JSON.createArrayNode();
        var described = admin.describeProducers(List.of(new TopicPartition(topic, partition)));
        for (var state : get(described.partitionResult(new TopicPartition(topic, partition))).activeProducers()) {
            ObjectNode one = found.addObject().put("producer_id", state.producerId()).put("producer_epoch", state.producerEpoch());
            if (state.currentTransactionStartOffset().isPresent()) {
                one.put("begin", state.currentTransactionStartOffset().getAsLong());
            }
        }
        return found;
    }

    private JsonNode topics(JsonNode names) throws Exception {
        List<String> wanted = new ArrayList<>();
        names.forEach(name -> wanted.add(name.asText()));
        ArrayNode found = JSON.createArrayNode();
        for (var described : get(admin.describeTopics(wanted).allTopicNames()).values()) {
            ObjectNode one = found.addObject().put("name", described.name()).put("id", described.topicId().toString());
            ArrayNode leaders = one.putArray("leaders");
            for (var partition : described.partitions()) {
                leaders.add(partition.leader() == null ? -1 : partition.leader().id());
            }
        }
        return found;
    }

    private static Map<String, String> texts(JsonNode fields) {
        Map<String, String> found = new HashMap<>();
        fields.properties().forEach(field -> found.put(field.getKey(), field.getValue().asText()));
        return found;
    }

    private JsonNode create(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        var replication = (short) request.get("replication").asInt();
        var created = new NewTopic(topic, request.get("partitions").asInt(), replication).configs(texts(request.get("config")));
        get(admin.createTopics(List.of(created)).all());
        // Created says the controller; a broker may not have heard of it yet.
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(MOST_SECONDS);
        while (true) {
            try {
                ends(topic);
                return JSON.createObjectNode();
            } catch (Exception notYet) {
                if (System.nanoTime() > deadline) {
                    throw notYet;
                }
                LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(20));
            }
        }
    }

    private JsonNode deleteRecords(JsonNode request) throws Exception {
        var partition = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        var before = RecordsToDelete.beforeOffset(request.get("before").asLong());
        return wait(admin.deleteRecords(Map.of(partition, before)).all());
    }

    private JsonNode configure(JsonNode request) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, request.get("topic").asText());
        Collection<AlterConfigOp> changes = new ArrayList<>();
        texts(request.get("config")).forEach((name, value) ->
            changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        return wait(admin.incrementalAlterConfigs(Map.of(resource, changes)).all());
    }

    private static AclBinding binding(JsonNode request) {
        var type = ResourceType.fromString(request.get("resource").asText());
        var pattern = PatternType.fromString(request.get("pattern").asText());
        var operation = AclOperation.fromString(request.get("operation").asText());
        var entry = new AccessControlEntry(request.get("principal").asText(), "*", operation, AclPermissionType.ALLOW);
        return new AclBinding(new ResourcePattern(type, request.get("name").asText(), pattern), entry);
    }

    private JsonNode groupOffsets(String group) throws Exception {
        ArrayNode found = JSON.createArrayNode();
        get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).forEach((partition, offset) -> {
            if (offset != null) {
                found.addObject().put("topic", partition.topic()).put("partition", partition.partition()).put("offset", offset.offset());
            }
        });
        return found;
    }

    /** `count` records from number `first` on; what each holds is reckoned from its number alone (see `judge.rs`). */
    private JsonNode produce(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        long first = request.get("first").asLong();
        long count = request.get("count").asLong();
        long keys = request.get("keys").asLong();
        long begin = request.get("begin_ms").asLong();
        long rate = request.get("rate").asLong();
        Properties settings = new Properties();
        settings.putAll(properties);
        settings.putIfAbsent("linger.ms", "5");
        settings.putIfAbsent("batch.size", "262144");
        settings.put("enable.idempotence", "true");
        // Of a partition that was just made, the broker may refuse the first batch and take the second one: then the first,
        // sent again, is out of order for ever.
        settings.put("max.in.flight.requests.per.connection", "1");
        settings.put("delivery.timeout.ms", "300000");
        // A producer that has missed a leader's coming asks again then, and by default in five minutes only.
        settings.put("metadata.max.age.ms", "5000");
        // A broker that was killed may take its time.
        settings.put("max.block.ms", "300000");
        AtomicReference<Exception> failed = new AtomicReference<>();
        long started = System.nanoTime();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (long n = first; n < first + count && failed.get() == null; n++) {
                if (rate > 0) {
                    long due = started + (n - first) * TimeUnit.SECONDS.toNanos(1) / rate;
                    for (long early = due - System.nanoTime(); early > 0; early = due - System.nanoTime()) {
                        LockSupport.parkNanos(early);
                    }
                }
                long customer = n % keys;
                long at = rate > 0 ? System.currentTimeMillis() : begin + (n - first);
                String value = "{\"n\":" + n + ",\"customer\":" + customer + ",\"cents\":" + n * 7919 % 10007 + ",\"ts\":" + at + "}";
                var record = new ProducerRecord<>(topic, null, at, bytes(Long.toString(customer)), bytes(value));
                producer.send(record, (sent, refused) -> Optional.ofNullable(refused).ifPresent(failed::set));
            }
            producer.flush();
        }
        if (failed.get() != null) {
            throw failed.get();
        }
        return JSON.createObjectNode().put("records", count);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
