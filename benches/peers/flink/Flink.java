import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Flink BROKERS INPUT OUTPUT at-least-once|exactly-once COMMIT_MS LINGER_MS: upper-cases values, until it is killed. */
public final class Flink {
    /** Key and value as they are. */
    private static final class Bytes implements KafkaRecordDeserializationSchema<byte[][]> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<byte[][]> out) {
            out.collect(new byte[][] {record.key(), record.value()});
        }

        @Override
        public TypeInformation<byte[][]> getProducedType() {
            return TypeInformation.of(byte[][].class);
        }
    }

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0], input = arguments[1], output = arguments[2];
        boolean exactlyOnce = arguments[3].equals("exactly-once");
        StreamExecutionEnvironment flink = StreamExecutionEnvironment.createLocalEnvironment(1, new Configuration());
        flink.enableCheckpointing(Long.parseLong(arguments[4]));
        flink.getConfig().enableObjectReuse();
        KafkaSource<byte[][]> source = KafkaSource.<byte[][]>builder()
            .setBootstrapServers(brokers)
            .setTopics(input)
            .setGroupId(output)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty("isolation.level", "read_committed")
            .setProperty("max.poll.records", "5000")
            .setProperty("max.partition.fetch.bytes", "4194304")
            .setDeserializer(new Bytes())
            .build();
        KafkaRecordSerializationSchema<byte[][]> toRecord =
            (record, context, timestamp) -> new ProducerRecord<>(output, record[0], record[1]);
        // For throughput, as the other programs of the comparison are set.
        KafkaSink<byte[][]> sink = KafkaSink.<byte[][]>builder()
            .setBootstrapServers(brokers)
            .setRecordSerializer(toRecord)
            .setDeliveryGuarantee(exactlyOnce ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE)
            .setTransactionalIdPrefix(output)
            .setProperty("transaction.timeout.ms", "600000")
            .setProperty("linger.ms", arguments[5])
            .setProperty("batch.size", "524288")
            .setProperty("buffer.memory", "134217728")
            .build();
        flink.fromSource(source, WatermarkStrategy.noWatermarks(), "source")
            .map(Flink::upperCase)
            .returns(byte[][].class)
            .sinkTo(sink);
        flink.execute("uppercase");
    }

    private static byte[][] upperCase(byte[][] record) {
        byte[] upper = record[1].clone();
        for (int i = 0; i < upper.length; i++) {
            if (upper[i] >= 'a' && upper[i] <= 'z') {
                upper[i] -= 32;
            }
        }
        return new byte[][] {record[0], upper};
    }
}
