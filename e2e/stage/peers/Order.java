import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/** What the sum needs of an order; parsed as a stream, without a tree. */
public final class Order {
    private static final JsonFactory JSON = new JsonFactory();

    public long customer;
    public long cents;
    /** Milliseconds since 1970. */
    public long ts;

    public static Order parse(byte[] value) throws IOException {
        Order order = new Order();
        try (JsonParser parser = JSON.createParser(value)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String field = parser.currentName();
                parser.nextToken();
                switch (field) {
                    case "customer" -> order.customer = parser.getLongValue();
                    case "cents" -> order.cents = parser.getLongValue();
                    case "ts" -> order.ts = parser.getLongValue();
                    default -> parser.skipChildren();
                }
            }
        }
        return order;
    }

    /** One result, as Onceward writes it but for the form of its time. */
    public static String result(long windowEnd, long customer, long orders, long total) {
        return "{\"window_end\":" + windowEnd + ",\"customer\":" + customer + ",\"orders\":" + orders + ",\"total\":" + total + "}";
    }
}
