import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.util.Arrays;

/** One broker: `Node CONFIGURATION DATA FORMAT-ARGUMENT...`. Formats its storage if need be; ends with whoever holds its standard input. */
public final class Node {
    public static void main(String[] arguments) throws Exception {
        Thread owner = new Thread(Node::endWithOwner, "owner");
        owner.setDaemon(true);
        owner.start();
        String configuration = arguments[0];
        if (!new File(arguments[1], "meta.properties").exists()) {
            String[] format = Arrays.copyOfRange(arguments, 2, arguments.length);
            // By name, since one class file serves all versions of the broker.
            Object code = Class.forName("kafka.tools.StorageTool")
                .getMethod("execute", String[].class, PrintStream.class)
                .invoke(null, format, System.out);
            if (!Integer.valueOf(0).equals(code)) {
                System.out.println("formatting failed: " + code);
                Runtime.getRuntime().halt(2);
            }
        }
        Class.forName("kafka.Kafka").getMethod("main", String[].class).invoke(null, (Object) new String[] {configuration});
    }

    private static void endWithOwner() {
        try {
            while (System.in.read() >= 0) {
                // Nothing is ever sent.
            }
        } catch (IOException ended) {
            // The same as an end.
        }
        Runtime.getRuntime().halt(3);
    }
}
